"""A SLURM of one's own on this machine, to try `ddgm submit` on and to test it with.

    python -m ddgm.deploy.slurm.testbed start FOLDER      # prints what to put into the shell
    python -m ddgm.deploy.slurm.testbed stop FOLDER

Two nodes, both here and on loopback: `cpu1` in partition `cpu` (the default) and `gpu1` in
partition `gpu`, with `Gres=gpu:1` on a file that stands in for a device. Needs Debian's or
Ubuntu's `slurm-wlm` and `munge`, and no rights: all daemons run as whoever starts them. Processes
are counted by their parents alone, so jobs are kept to no memory and no cores.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ddgm.core.errors import DdgmError

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
NODES = ("cpu1", "gpu1")
CORES = 8  # that each node claims; the testbed's jobs are small
PATIENCE = 60.0  # seconds for all daemons to answer, and for each to end

CONFIGURATION = """\
ClusterName=testbed
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a requeued job starts again after cred_expire, 2 minutes on most clusters
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=10
GresTypes=gpu
NodeName=cpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores} RealMemory=32000
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores} \
RealMemory=32000 Gres=gpu:1
PartitionName=cpu Nodes=cpu1 Default=YES State=UP OverTimeLimit=0
PartitionName=gpu Nodes=gpu1 State=UP OverTimeLimit=0
"""


class TestbedError(DdgmError):
    """A testbed that cannot be started."""

    __test__ = False  # pytest takes it for a test by its name


def missing_programs() -> list[str]:
    """Programs of SLURM's and munge's that this machine does not have."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def start(folder: Path) -> dict[str, str]:
    """Start the daemons, with all that they write in `folder`, which is made.

    Returns:
        The environment by which SLURM's commands reach them.

    Raises:
        TestbedError: programs are missing, the folder is there, or a daemon does not answer.
    """
    if missing := missing_programs():
        raise TestbedError(
            f"testbed: there is no {missing[0]} here; install SLURM, on Debian and Ubuntu with "
            "`apt-get install slurm-wlm munge`"
        )
    folder = folder.resolve()
    if folder.exists():
        raise TestbedError(f"testbed: {folder} is there already; stop it, or name another folder")
    _write(folder)
    environment = {"SLURM_CONF": f"{folder}/slurm.conf"}
    try:
        _munge(folder)
        for name, *words in (("slurmctld", "slurmctld", "-i"), *_slurmd()):
            _launch(folder, name, [*words, "-D"], environment)
        _wait(folder, lambda: _idle(environment))
    except BaseException:
        stop(folder)
        raise
    return environment


def stop(folder: Path) -> None:
    """End all jobs and daemons of a testbed and remove its folder; a second time, do nothing."""
    folder = folder.resolve()
    if (folder / "slurmctld.started").exists():
        _end_jobs({"SLURM_CONF": f"{folder}/slurm.conf"})
    for path in sorted(folder.glob("*.started"), reverse=True):
        _end(int(path.read_text()), folder)
    shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path) -> None:
    """Configuration files, the munge key and the stand-in for a GPU."""
    folder.mkdir(parents=True, mode=0o755)
    for name in ("state", *NODES):
        (folder / name).mkdir()
    (folder / "gpu0").symlink_to("/dev/null")  # SLURM wants a device
    (folder / "cgroup.conf").touch()
    (folder / "gres.conf").write_text(f"NodeName=gpu1 Name=gpu File={folder}/gpu0\n")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            ports=_free_ports(3),
            user=user,
            folder=folder,
            cores=CORES,
        )
    )


def _munge(folder: Path) -> None:
    files = {name: f"{folder}/munge.{name}" for name in ("pid", "log", "seed", "key", "socket")}
    words = ["munged", "--foreground", "--force", "--num-threads=2"]
    words += [f"--{name}-file={files[name]}" for name in ("pid", "log", "seed", "key")]
    _launch(folder, "munged", [*words, f"--socket={files['socket']}"], {})
    _wait(folder, Path(files["socket"]).exists)


def _slurmd() -> list[tuple[str, ...]]:
    return [(node, "slurmd", "-N", node) for node in NODES]


def _launch(folder: Path, name: str, words: list[str], environment: dict[str, str]) -> None:
    """A daemon in a session of its own, which Ctrl-C does not reach; its id in NAME.started."""
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, **environment, "PATH": _path()},
        )
    (folder / f"{name}.started").write_text(str(process.pid))


def _idle(environment: dict[str, str]) -> bool:
    """True once both nodes have reported."""
    found = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%T"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return found.stdout.split() == ["idle"] * len(NODES)


def _wait(folder: Path, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            outputs = [p.read_text(errors="replace")[-500:] for p in folder.glob("*.out")]
            raise TestbedError(f"testbed: the daemons do not answer: {' '.join(outputs)!r}")
        time.sleep(0.1)


def _end_jobs(environment: dict[str, str]) -> None:
    """Cancel all jobs and wait until their processes have gone, as long as the daemons answer."""

    def ask(*words: str) -> str:
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                timeout=10,
                env={**os.environ, **environment},
            ).stdout
        return ""

    if jobs := ask("squeue", "--noheader", "--format=%A").split():
        ask("scancel", *jobs)
    deadline = time.monotonic() + PATIENCE
    while ask("squeue", "--noheader") and time.monotonic() < deadline:
        time.sleep(0.2)


def _end(pid: int, folder: Path) -> None:
    """End a daemon: asked first, killed if it does not go."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, PATIENCE)):
        deadline = time.monotonic() + patience
        if _alive(pid, folder):
            os.kill(pid, number)
        while time.monotonic() < deadline:
            if not _alive(pid, folder):
                return
            time.sleep(0.05)


def _alive(pid: int, folder: Path) -> bool:
    """True if the process that was started is alive; process numbers are reused."""
    with suppress(ChildProcessError):  # not ours, where `start` was another process
        os.waitpid(pid, os.WNOHANG)
    try:
        return Path(f"/proc/{pid}/cwd").readlink() in (folder, *folder.iterdir())
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _path() -> str:
    """Search path for programs, with the folders where Debian keeps daemons."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ddgm.deploy.slurm.testbed", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    words = parser.parse_args()
    if words.action == "stop":
        stop(words.folder)
        return
    try:
        for name, value in start(words.folder).items():
            print(f"export {name}={value}")
    except TestbedError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
