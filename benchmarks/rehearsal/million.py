"""A run of a million blocks: what it takes to start, to resume, to look at and to end.

python -m benchmarks.rehearsal.million [--blocks 1000000] [--folder /tmp/million] [--only resume]

Each reading is a fresh process's. The blocks' records and shards are made without running them: one
block is run, and its record is written a million times with other numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from benchmarks.rehearsal.box import spec_of
from ddgm.core.errors import DdgmError
from ddgm.pipeline.run import preflight
from ddgm.pipeline.run.events import Event, RunStarted
from ddgm.pipeline.run.preflight import check, create
from ddgm.pipeline.run.runner import run, run_alone
from ddgm.pipeline.spec.layout import layout_of, shard_keys
from ddgm.pipeline.store.arrays import VOLUME
from ddgm.pipeline.store.ledger import record_name
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.sealed import seal

LINKS = 60_000  # names of one file, which file systems bound


class Begun(DdgmError):
    """The run has come to its first block."""


def build(folder: Path, blocks: int) -> None:
    """A run of so many blocks, all of them done."""
    spec = spec_of(folder, blocks)
    checked = check(spec)
    levels = {**checked.manifest, "levels": 0}  # those of a million blocks take hours to make
    create(replace(checked, manifest=levels))
    first = json.loads(run_alone(spec, 0).to_json())
    del first["checksum"]
    plan, root = checked.context.plan, Path(spec.output.path)
    layout = layout_of(plan, "reconstruction")
    keys = shard_keys(plan, layout, np.arange(plan.block_count))
    names = [f"{root}/{VOLUME}/reconstruction/0/{key}" for key in keys]
    whole = Path(names[0]).read_bytes()
    copy = names[0]
    for i, name in enumerate(names[1:], 1):
        if i % plan.blocks_per_slab == 0:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
        if i % LINKS == 1:
            Path(name).write_bytes(whole)
            copy = name
        else:
            os.link(copy, name)
        scores = {k: v + i * 1e-7 for k, v in first["metrics"][0].items()}
        scores["slice"] = i % plan.blocks_per_slab
        place = f"{root}/{record_name(i)}"
        if i % 1000 == 0:
            Path(place).parent.mkdir(exist_ok=True)
        with open(place, "wb") as file:
            file.write(seal(first | {"block": i, "metrics": [scores]}))


def as_built(folder: Path) -> None:
    """Go on with a run that an earlier version of the code has built."""
    if (path := folder / "run/run.json").exists():
        code = json.loads(path.read_text())["code"]
        preflight.code_digest = lambda: code


def begin(folder: Path, blocks: int) -> None:
    """A run up to its first block."""

    as_built(folder)

    def emit(event: Event) -> None:
        if isinstance(event, RunStarted):
            print(f"{event.done} of {event.blocks} blocks were done", file=sys.stderr)
            raise Begun("that is all")

    try:
        run(spec_of(folder, blocks), emit)
    except Begun:
        return


def end(folder: Path, blocks: int) -> None:
    """What a run does after its last block."""
    as_built(folder)
    run(spec_of(folder, blocks), lambda event: None)


def forget(folder: Path, blocks: list[int]) -> None:
    ledger = RunStore(spec_of(folder, 1).output.path).ledger
    for block in blocks:
        ledger.forget(block)


def alone(what: str, words: list[str]) -> dict[str, Any]:
    """Seconds and memory of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{what} ended with {status}")
    row = {
        "what": what,
        "s": time.perf_counter() - start,
        "CPU s": used.ru_utime + used.ru_stime,
        "peak, MB": used.ru_maxrss / 1e3,
    }
    print(row, flush=True)
    return row


PHASES: dict[str, Callable[[Path, int], None]] = {"build": build, "begin": begin, "end": end}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/million"))
    parser.add_argument("--only", nargs="*", help="of the readings, by their first word")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.phase:
        PHASES[a.phase](a.folder, a.blocks)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, file=sys.stderr)
        return
    rows: list[dict[str, Any]] = []
    root, spec = str(a.folder / "run"), a.folder / "spec.json"

    def measure(what: str, *words: str) -> None:
        if not a.only or what.split()[0] in a.only:
            rows.append(alone(what, list(words)))

    def phase(name: str) -> list[str]:
        here = ["benchmarks.rehearsal.million", "--phase", name]
        return [*here, "--blocks", str(a.blocks), "--folder", str(a.folder)]

    a.folder.mkdir(parents=True, exist_ok=True)
    spec.write_text(json.dumps(spec_of(a.folder, a.blocks).model_dump(mode="json")))
    if not (a.folder / "run").exists():
        measure("start", *phase("begin"))
        shutil.rmtree(root)
        measure("build", *phase("build"))
    ddgm = "ddgm.pipeline.cli"
    measure("plan", ddgm, "plan", str(spec))
    if not a.only or "resume" in a.only:
        forget(a.folder, [a.blocks // 2 + 1])
    measure("resume with all but one done", *phase("begin"))
    measure("again", *phase("begin"))
    measure("status", ddgm, "status", root)
    measure("end", *phase("end"))
    measure("report", ddgm, "report", root)
    if not a.only:
        report("rehearsal-million", f"A run of {a.blocks} blocks", rows)


if __name__ == "__main__":
    main()
