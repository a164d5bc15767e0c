"""Blocks that fail on their worker: a source that answers badly, a result that is not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddgm.core.networks.prior import load_prior, save_prior
from ddgm.core.networks.unet import UNet
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run.events import BlockDone, BlockFailed, BlockRetried, Event
from ddgm.pipeline.run.runner import run, run_alone
from ddgm.pipeline.spec.base import PlanError
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.run.disturbed import BLOCKS, Events, spec_for
from tests.pipeline.runs import layers, run_ddgm
from tests.pipeline.sample_volumes import Server, serve
from tests.workers.shared import Shared

pytestmark = pytest.mark.usefixtures("impatient")


def failing(server: Server, fault: int | str) -> None:
    """Block 1's chunk, for the first slab, and block 6's of the second fail."""
    server.faults.update({"11-15_20-160_10-42": fault, "15-19_20-160_42-74": fault})


@pytest.mark.server
@pytest.mark.parametrize("fault", [500, "cut"])
def test_a_source_that_fails_is_asked_again_and_a_block_that_never_comes_is_given_up(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    fault: int | str,
) -> None:
    with serve(volume) as server:
        failing(server, fault)
        spec = spec_for(shared, tmp_path / "run", tiny_prior, server.url, limits={"attempts": 2})

        def mend_one() -> None:
            del server.faults["11-15_20-160_10-42"]

        events = Events(lambda e: isinstance(e, BlockRetried) and e.block == 1, mend_one)
        result = run(spec, events)
        assert [r.block for r in result.failed] == [6]
        assert result.failed[0].attempts == 2
        assert {e.block for e in events if isinstance(e, BlockRetried)} == {1, 6}
        server.faults.clear()
        again = run(spec, lambda event: None)
    assert (again.resumed, again.done) == (BLOCKS - 1, 1)
    assert layers(tmp_path / "run") == reference


def test_a_reconstruction_that_is_not_finite_is_a_failed_block_and_nothing_is_written(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By weights that are numbers, but so large that their products are none."""
    prior, broken = load_prior(str(tiny_prior)), tmp_path / "broken.safetensors"
    with torch.no_grad():
        for p in prior.network.parameters():
            p.fill_(1e30)
    assert isinstance(prior.network, UNet)
    save_prior(broken, prior.network, prior.card)
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(spec_for(shared, tmp_path / "run", broken, volume)))
    status, out, err = run_ddgm(capsys, "run", path)
    assert (status, err.count("\n")) == (EXIT_STATUS["blocks"], 1)
    assert f"{BLOCKS} of {BLOCKS} blocks failed" in err
    assert "block 0: the reconstruction is not finite; check method.step" in " ".join(out.split())
    records = list(RunStore(str(tmp_path / "run")).ledger.records())
    assert [(r.state, r.attempts) for r in records] == [("failed", 1)] * BLOCKS
    assert all("the reconstruction is not finite" in r.cause for r in records)
    assert not list((tmp_path / "run/volume.zarr").rglob("c/*"))


def test_events_tell_of_every_block_once(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    """The summary is made of them."""
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume, block={"slices": 16})
    events: list[Event] = []
    result = run(spec, events.append)
    assert (result.blocks, result.done, result.resumed, result.failures) == (2, 2, 0, 0)
    assert sorted(e.record.block for e in events if isinstance(e, BlockDone)) == [0, 1]
    assert not [e for e in events if isinstance(e, BlockFailed)]
    with pytest.raises(PlanError, match="there is no block 2"):
        run_alone(spec, 2)
