# Workers: they join the driver's scheduler, and end before SLURM would end them, or with it.
set -u

for ((second = 0; second < 60; second++)); do
    ls "$folder" >/dev/null # a network file system shows what is new to who lists the folder
    [ -e "$folder/ended" ] && exit 0
    [ -s "$folder/scheduler.json" ] && break
    sleep 1
done
if [ ! -s "$folder/scheduler.json" ]; then
    echo "no scheduler for a minute: the driver waits in the queue, or is gone; it sends others"
    exit 0
fi

scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/ddgm-XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
IFS=, read -r -a devices <<<"${CUDA_VISIBLE_DEVICES:-}"

pids=()
for ((i = 0; i < processes; i++)); do
    # each worker has a GPU of its own
    [ "$group" = gpu ] && export CUDA_VISIBLE_DEVICES="${devices[i]:-$i}"
    "${python[@]}" -m dask worker \
        --scheduler-file "$folder/scheduler.json" \
        --name "$group-$SLURM_JOB_ID-${SLURM_PROCID:-0}-$i" \
        --nthreads 1 \
        --memory-limit "$memory" \
        --local-directory "$scratch" \
        --death-timeout 60 \
        --no-dashboard \
        "${options[@]}" \
        ${lifetime:+--lifetime "$((lifetime - SECONDS)) s" --lifetime-stagger "$stagger s"} &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
done
[ "$status" != 0 ] || echo "this job ends as it should"
exit "$status"
