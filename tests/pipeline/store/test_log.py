"""Logs by process: what happened is there, and a run of any length fills no disk."""

from __future__ import annotations

import json
from pathlib import Path

from ddgm.pipeline.store.log import MAX_BYTES, worker_log


def test_a_log_keeps_the_latest_and_is_bounded(tmp_path: Path) -> None:
    """By two files of a megabyte, whatever is written."""
    log = worker_log(str(tmp_path), "cpu-0")
    for block in range(1000):
        log("failed", block=block, cause="x" * 5000)
    files = sorted((tmp_path / "logs").iterdir())
    assert [f.name for f in files] == ["cpu-0.jsonl", "cpu-0.jsonl.1"]
    assert MAX_BYTES == 1_000_000
    assert all(f.stat().st_size <= MAX_BYTES for f in files)
    latest, older = ([json.loads(line) for line in f.read_text().splitlines()] for f in files)
    blocks = [entry["block"] for entry in older + latest]
    assert blocks == list(range(blocks[0], 1000)), "none between is lost"
