"""A scheduler that is killed in the middle of a run: blocks that are done again, and seconds.

python -m benchmarks.rehearsal.lost [--workers 16] [--blocks 200] [--seconds 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import report
from benchmarks.rehearsal.box import spec_of
from benchmarks.rehearsal.driver import cluster
from ddgm.pipeline.run.events import BlockDone, Event
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.run.standstill import RunError
from ddgm.pipeline.store.run_store import RunStore

NOTES = """
The scheduler is killed as half of the blocks are done, and the same spec is run again with another.
Blocks that were begun and have no record by then are done again; workers that are at one when
the scheduler goes lose it with their connection.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a block")
    a = parser.parse_args()
    killed, said, done = 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with cluster(a.workers, a.seconds) as (address, scheduler):
            spec = spec_of(folder, a.blocks, {"kind": "address", "address": address})

            def count(event: Event) -> None:
                nonlocal killed, done
                if isinstance(event, BlockDone):
                    done += 1
                    if done == a.blocks // 2:
                        killed = time.perf_counter()
                        scheduler.kill()

            try:
                run(spec, count)
            except RunError:
                said = time.perf_counter() - killed
        kept = sum(1 for _ in RunStore(spec.output.path).ledger.records())
        with cluster(a.workers, a.seconds) as (address, _):
            spec = spec_of(folder, a.blocks, {"kind": "address", "address": address})
            start, first = time.perf_counter(), 0.0

            def see(event: Event) -> None:
                nonlocal first
                if isinstance(event, BlockDone):
                    first = first or time.perf_counter() - start

            result = run(spec, see)
    row: dict[str, Any] = {
        "workers": a.workers,
        "blocks": a.blocks,
        "done when it was killed": a.blocks // 2,
        "with a record": kept,
        "resumed": result.resumed,
        "driver ended after, s": said,
        "first block of the next start after, s": first,
        "of which a block takes, s": a.seconds,
    }
    report("rehearsal-lost", f"A lost scheduler: blocks that take {a.seconds:g} s", [row], NOTES)


if __name__ == "__main__":
    main()
