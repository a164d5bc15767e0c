"""Driver and scheduler of a run with 8, 64 and 256 workers: what a block costs them.

python -m benchmarks.rehearsal.driver [--workers 8 64 256] [--blocks 3000] [--seconds 0]
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from benchmarks.common import report
from benchmarks.rehearsal.box import spec_of
from ddgm.pipeline.cli.shown.progress import RunProgress
from ddgm.pipeline.run.events import BlockDone, Event
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.terminal import silent

PROCESSES = 2  # that hold the simulated workers
IDLE = 5.0  # seconds in which the scheduler has nothing to do but to hear its workers
START = 0.2  # of the blocks, which come before what is measured

NOTES = """
A real run: `run` of a real spec with its checks, events, state file and ledger, a Dask scheduler in
a process of its own, and workers that sleep for a block's time, write its shard and put its record
of 40 slices.
All of it shares the machine's cores, so that blocks a second are those of the slowest of all; what
a block costs driver and scheduler, in CPU seconds after the first fifth of the blocks, says what
each could do with a core of its own. What the scheduler spends on its workers' heartbeats, blocks
or not, is told apart.
"""


@contextmanager
def cluster(workers: int, seconds: float) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler and simulated workers; its address and process."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen([*words, "--port", str(port), "--no-dashboard"])
    here = [sys.executable, "-m", "benchmarks.rehearsal.workers", address, f"--seconds={seconds}"]
    count = -(-workers // PROCESSES)
    others = [
        subprocess.Popen([*here, f"--count={count}", f"--first={i * count}"])
        for i in range(PROCESSES)
    ]
    try:
        with Client(address, timeout=60) as client:
            client.wait_for_workers(count * PROCESSES, timeout=300)
        yield address, psutil.Process(scheduler.pid)
    finally:
        for process in (*others, scheduler):
            process.terminate()
        for process in (*others, scheduler):
            process.wait()


def spent(process: psutil.Process) -> float:
    """CPU seconds so far."""
    used = process.cpu_times()
    return used.user + used.system


def measured(workers: int, blocks: int, seconds: float, folder: Path) -> dict[str, Any]:
    """What so many blocks cost."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    with cluster(workers, seconds) as (address, scheduler):
        before = spent(scheduler)
        time.sleep(IDLE)
        idle = (spent(scheduler) - before) / IDLE  # CPU seconds a second, for heartbeats alone
        spec = spec_of(folder, blocks, {"kind": "address", "address": address})
        driver, done, marks = psutil.Process(), 0, list[tuple[float, float, float, int]]()

        def count(event: Event) -> None:
            nonlocal done
            progress(event)
            if isinstance(event, BlockDone):
                done += 1
                if done in (int(START * blocks), blocks - 2 * workers):
                    marks.append((time.perf_counter(), spent(driver), spent(scheduler), done))

        with RunProgress(silent) as progress:
            run(spec, count)
        first, last = marks
        wall, ours, theirs, ended = (b - a for a, b in zip(first, last, strict=True))
        return {
            "workers": workers,
            "blocks": blocks,
            "blocks/s": ended / wall,
            "driver, CPU ms a block": 1e3 * ours / ended,
            "scheduler idle, CPU ms a second": 1e3 * idle,
            "scheduler, CPU ms a block": 1e3 * (theirs - idle * wall) / ended,
            "driver alone, blocks/s": ended / ours,
            "scheduler alone, blocks/s": (1 - idle) * ended / (theirs - idle * wall),
            "driver, MB": driver.memory_info().rss / 1e6,
            "scheduler, MB": scheduler.memory_info().rss / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=(8, 64, 256))
    parser.add_argument("--blocks", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=0.0, help="of a block")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = [measured(n, a.blocks, a.seconds, Path(name)) for n in a.workers]
    report("rehearsal-driver", f"Blocks that take {a.seconds:g} s", rows, NOTES)


if __name__ == "__main__":
    main()
