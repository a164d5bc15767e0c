"""What a plan says it costs, against counting; benchmarks/scale.py has it against a process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.run.placement import LOCAL, WHOLE, check_room
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.memory import (
    batch_fill,
    network_batch,
    slices_that_fit,
    worker_memory,
)
from ddgm.pipeline.spec.plan import Plan, PlanError, make_plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from ddgm.workers.members import WorkerInfo, Workers
from tests.pipeline.runs import small_spec


def plan(tiny_prior: Path, bounds: Box, slices: int = 16, **parts: dict) -> Plan:
    info = VolumeInfo(bounds, (16.0, 16.0, 16.0), "uint8", (32, 32, 16), 1, 0)
    block = {"slices": slices, "batch": 4}
    return make_plan(small_spec("a", "run", tiny_prior, block=block, **parts), info)


def test_aligned_blocks_fetch_what_they_use(tiny_prior: Path) -> None:
    fetch = fetch_bytes(plan(tiny_prior, Box((0, 0, 0), (64, 128, 64))))
    assert fetch.needed == fetch.touched == 64 * 128 * 64


def test_misaligned_blocks_pay_for_whole_chunks(tiny_prior: Path) -> None:
    box = {"box": {"z": [16, 48], "y": [0, 128], "x": [8, 24]}}  # half a chunk off in z and x
    fetch = fetch_bytes(plan(tiny_prior, Box((0, 0, 0), (64, 128, 64)), source=box))
    assert fetch.needed == 32 * 128 * 16
    assert fetch.touched == 4 * fetch.needed


@pytest.mark.parametrize(("width", "patches"), [(32, 1), (33, 2), (56, 2), (140, 6)])
def test_patches_a_slice(tiny_prior: Path, width: int, patches: int) -> None:
    images = network_batch(plan(tiny_prior, Box((0, 0, 0), (32, width, 16))))
    assert (images.per_slice, images.height, images.width) == (patches, 32, 32)


def test_whole_rows_are_one_image_a_slice_and_a_call(tiny_prior: Path) -> None:
    bounds = Box((0, 0, 0), (32, 141, 16))
    rows = plan(tiny_prior, bounds, prior={"tiling": "rows", "batch": 8})
    images = network_batch(rows)
    assert (images.per_slice, images.batch, images.height, images.width) == (1, 1, 32, 144)
    one = worker_memory(plan(tiny_prior, bounds, prior={"batch": 1})).network
    assert worker_memory(rows).network == one * 144 // 32
    assert batch_fill(rows) == (1.0, 1)


@pytest.mark.parametrize(
    ("slices", "patches", "fill", "filling"),
    [(4, 8, 1.0, 4), (4, 16, 0.5, 8), (8, 16, 1.0, 8), (4, 6, 2 / 3, 3)],
)
def test_how_full_the_networks_batches_are(
    tiny_prior: Path, slices: int, patches: int, fill: float, filling: int
) -> None:
    """33 pixels are two patches of 32."""
    one = plan(tiny_prior, Box((0, 0, 0), (32, 33, 64)), prior={"batch": patches})
    block = one.spec.block.model_copy(update={"batch": slices})
    one = replace(one, spec=one.spec.model_copy(update={"block": block}))
    assert batch_fill(one) == (pytest.approx(fill), filling)


def test_memory_grows_with_what_holds_it(tiny_prior: Path) -> None:
    bounds = Box((0, 0, 0), (32, 140, 64))
    small, large = (worker_memory(plan(tiny_prior, bounds, n)) for n in (16, 32))
    assert large.block == 2 * small.block
    assert large.projector == small.projector
    batch = worker_memory(plan(tiny_prior, bounds, 16, prior={"batch": 16}))
    assert batch.network == 2 * small.network
    assert small.total == sum(
        (small.process, small.network, small.projector, small.block, small.batch, small.chunks)
    )


def test_long_blocks_are_scored_in_larger_images_than_slices(tiny_prior: Path) -> None:
    bounds = Box((0, 0, 0), (32, 140, 64))
    short, long = (worker_memory(plan(tiny_prior, bounds, n)) for n in (32, 64))
    assert long.batch == 2 * short.batch  # a plane across 64 slices is twice as large as one


def test_a_calibration_scales_to_the_run_and_its_workers(tiny_prior: Path) -> None:
    one = plan(tiny_prior, Box((0, 0, 0), (32, 140, 64)))
    time = time_calls(one)
    assert time.network_call > 0
    assert time.data_step > 0
    per_slice = 3 * (time.data_step + 3 * time.network_call) / 4  # 24 patches are 3 calls of 8
    assert time.slice == pytest.approx(per_slice)
    assert time.run == pytest.approx(64 * per_slice)


def test_a_block_that_does_not_fit_is_refused_with_the_slices_that_do(tiny_prior: Path) -> None:
    bounds = Box((0, 0, 0), (32, 140, 4096))
    large = plan(tiny_prior, bounds, 4096)
    limit = worker_memory(large).total
    member = WorkerInfo("tcp://a", "cpu-0", threads=1, memory=limit, pool=False)
    workers = Workers({"tcp://a": member}, frozenset())
    with pytest.raises(PlanError, match=r"block\.slices: 4096 need .* worker cpu-0 has") as error:
        check_room(large, workers, LOCAL)
    fits = slices_that_fit(large, limit)
    assert f"; {fits} fit" in str(error.value)
    assert 0 < fits < 4096
    assert fits % 4 == 0
    check_room(plan(tiny_prior, bounds, fits), workers, LOCAL)
    with pytest.raises(PlanError):
        check_room(plan(tiny_prior, bounds, fits + 4), workers, LOCAL)
    check_room(large, Workers({"tcp://a": replace(member, memory=0)}, frozenset()), LOCAL)


def test_nobody_who_runs_no_network_needs_memory_for_it(tiny_prior: Path) -> None:
    one = plan(tiny_prior, Box((0, 0, 0), (32, 140, 16)), prior={"batch": 4096})
    limit = 2 * worker_memory(one, network=False).total
    assert limit < worker_memory(one).total
    home = WorkerInfo("tcp://a", "cpu-0", threads=1, memory=limit, pool=False)
    workers = Workers({"tcp://a": home}, frozenset())
    check_room(one, workers, WHOLE)
    with pytest.raises(PlanError, match="not even one batch fits"):
        check_room(one, workers, LOCAL)
    pool = replace(home, address="tcp://b", pool=True)
    with pytest.raises(PlanError):
        check_room(one, Workers({"tcp://b": pool}, frozenset()), WHOLE)
