"""Fetching beside computing, on a worker of one thread."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.stages import fetch_stage
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run.preflight import prepare
from tests.pipeline.run.disturbed import BLOCKS, has_begun, spec_for, withheld
from tests.pipeline.sample_volumes import chunk_file
from tests.processes import wait_for
from tests.workers.shared import Shared


def held_block(context: RunContext, task: BlockTask) -> int:
    """What a worker computes meanwhile."""
    with running_stage(context, task, "reconstruct"):
        return task.block


def test_a_worker_computes_while_it_fetches(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    """A worker of one thread: the fetching has left its slot."""
    shutil.copytree(volume, tmp_path / "em")
    context = prepare(spec_for(shared, tmp_path / "run", tiny_prior, tmp_path / "em"))
    member, last = shared.whole().block_workers[0], BLOCKS - 1
    assert member.threads == 1
    here: dict[str, Any] = {"workers": [member.address], "pure": False}
    with withheld(chunk_file(tmp_path / "em", (42, 20, 19))):
        fetching = shared.client.submit(fetch_stage, context, BlockTask(last), **here)
        wait_for(lambda: has_begun(tmp_path / "run", last))
        assert (
            shared.client.submit(held_block, context, BlockTask(0), **here).result(timeout=60) == 0
        )
        assert not fetching.done()
    assert fetching.result(timeout=60).data.missing_voxels == 0
