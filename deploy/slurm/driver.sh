# The driver: Dask's scheduler and `ddgm run`. It keeps as many workers in the queue as the spec
# asks for, goes back into the queue itself before its walltime, and takes all workers with it
# when the run ends.
set -u

scheduler='' run='' crew=''
declare -A seen=() deaths=() pause=()

say() { echo "$(date '+%F %T') driver: $*"; }

# The jobs of a group that SLURM knows, one id a line: 12_0, 12_1.
queued() { squeue --noheader --array --user="$UID" --name="$name-$1" --format=%i; }

# Send jobs of a group, and write down their id.
send() {
    local group=$1 count=$2 id variable
    id=$(
        # what SLURM says of this job is not meant for others
        for variable in "${!SLURM_@}"; do [ "$variable" = SLURM_CONF ] || unset "$variable"; done
        sbatch --parsable --array="0-$((count - 1))" "$folder/$group.sh"
    ) || return 1
    id=${id%%;*}
    echo "$id $group" >>"$folder/jobs"
    say "sent $count $group job(s): $id"
    for ((i = 0; i < count; i++)); do seen[$group]+=" ${id}_$i"; done
}

# Have as many of a group's jobs in the queue as the spec asks for. One that has joined the
# scheduler is replaced when it ends; after three in a row that ended before, no more are sent.
keep() {
    local group=$1 now id log died='' missing
    now=$(queued "$group") || return 0 # SLURM does not answer: ask again later
    for id in ${seen[$group]:-}; do
        grep -qxF "$id" <<<"$now" && continue
        log="$folder/logs/$group-$id.log"
        grep -qs 'no scheduler for a minute' "$log" && continue # of an earlier start of this job
        if grep -qs 'Registered to' "$log"; then
            deaths[$group]=0
            grep -qs -e 'ends as it should' -e 'worker-lifetime-reached' "$log" ||
                echo "$id $group work" >>"$folder/lost"
        else
            died=$id
            echo "$id $group start" >>"$folder/lost"
        fi
    done
    seen[$group]=$now
    if [ -n "$died" ]; then
        deaths[$group]=$((${deaths[$group]:-0} + 1))
        pause[$group]=$((SECONDS + 20 * deaths[$group]))
        log="$folder/logs/$group-$died.log"
        say "$group job $died ended before it joined the scheduler; the end of $log:"
        tail -n 5 "$log" 2>&1 | sed 's/^/    /'
        [ "${deaths[$group]}" -lt 3 ] || say "that was the third in a row: no more $group jobs"
    fi
    ((${deaths[$group]:-0} < 3 && SECONDS >= ${pause[$group]:-0})) || return 0
    missing=$((wanted[$group] - $(wc -w <<<"$now")))
    [ "$missing" -le 0 ] || send "$group" "$missing" || say "SLURM took no more $group jobs"
}

# Whether there is no worker, and none will come.
deserted() {
    local group
    if [ -n "$crew" ]; then
        ! kill -0 "$crew" 2>/dev/null
        return
    fi
    for group in "${!wanted[@]}"; do
        [ "${deaths[$group]:-0}" -ge 3 ] && [ -z "${seen[$group]}" ] || return 1
    done
}

# End what runs in this job; workers end when the scheduler does.
stop() {
    rm -f "$folder/scheduler.json"
    [ -z "$run" ] || kill "$run" 2>/dev/null
    [ -z "$scheduler" ] || kill "$scheduler" 2>/dev/null
    for ((second = 0; second < 20; second++)); do
        [ -n "$(jobs -rp)" ] || return 0
        sleep 1
    done
    jobs -rp | xargs -r kill -9
}

# End the whole run: no worker starts from here on, and none stays.
finish() {
    local group
    echo "$1" >"$folder/ended"
    for group in "${!wanted[@]}"; do scancel --user="$UID" --name="$name-$group"; done
    stop
    say "the run has ended: $1"
    exit "$2"
}

# End here, and start again where SLURM puts this job next.
go_back() {
    say "$1; back into the queue: finished blocks are kept"
    stop
    trap - TERM
    scontrol requeue "$SLURM_JOB_ID" && sleep 600 # SLURM ends this script meanwhile
    say "SLURM does not put this job back into the queue; resume with \`ddgm submit\`"
    exit 1
}

[ -e "$folder/ended" ] && exit 0 # cancelled while it was in the queue
trap 'say "SLURM ends this job; finished blocks are kept"; stop; exit 143' TERM
rm -f "$folder/scheduler.json"
# Dask's own has a name that is known beforehand, and it imports what lies there
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/ddgm-XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
# preloaded: it imports what tasks are made of, and would not answer for seconds at the first one
DASK_TEMPORARY_DIRECTORY="$scratch" "${python[@]}" -m dask scheduler --scheduler-file "$folder/scheduler.json" --port 0 \
    --dashboard-address 127.0.0.1:0 --preload ddgm.pipeline.block.stages "${options[@]}" &
scheduler=$!
for ((second = 0; second < 300; second++)); do
    [ -s "$folder/scheduler.json" ] && break
    kill -0 "$scheduler" 2>/dev/null || finish "the scheduler did not start" 1
    sleep 1
done
DASK_TEMPORARY_DIRECTORY="$scratch" "${python[@]}" -m ddgm.pipeline.cli run "$folder/spec.yaml" &
run=$!
if [ -n "$single" ]; then
    srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --open-mode=append \
        --output="$folder/logs/$single-%j_%t.log" bash "$folder/$single.sh" &
    crew=$!
fi
for group in "${!wanted[@]}"; do
    if [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then
        # those that were sent with this job may have died already
        id=$(sed -n "s/ $group\$//p" "$folder/jobs")
        for ((i = 0; i < wanted[$group]; i++)); do seen[$group]+=" ${id}_$i"; done
    else
        seen[$group]=$(queued "$group")
    fi
done

next=0
while kill -0 "$run" 2>/dev/null; do
    if ((SECONDS >= seconds)); then
        rm -f "$folder/again"
        go_back "the walltime is near"
    fi
    if ((SECONDS >= next)); then
        next=$((SECONDS + (SECONDS < 300 ? 5 : 30)))
        for group in "${!wanted[@]}"; do keep "$group"; done
        ! deserted || finish "no worker could start; see the logs in $folder/logs" 1
    fi
    sleep 1 &
    wait $! # unlike `sleep` alone, it lets a signal through
done
wait "$run"
status=$?
if [ "$status" = 0 ]; then finish "every block is done" 0; fi
sleep 5 # if it was SLURM that ended it, this script is next, and the run has not ended
if [ "$status" = 4 ] || [ "$status" = 5 ]; then # the cluster's fault, or a network's: docs/run.md
    echo "$status" >>"$folder/again"
    if [ "$(wc -l <"$folder/again")" -le 3 ]; then
        go_back "ddgm run ended with status $status, which another start may mend"
    fi
fi
finish "ddgm run ended with status $status; its words are in this job's log" "$status"
