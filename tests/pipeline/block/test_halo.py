"""Methods that couple slices: what a block reads beside its own slices, and what it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ddgm.core.networks.prior import PriorError
from ddgm.pipeline.block.stages import fetch, run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.memory import (
    LOW_COST,
    cheap_slices,
    coupling_cost,
    slices_that_fit,
    with_slices,
    worker_memory,
)
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from tests.pipeline.runs import layers, phantom_volume, spec_data
from tests.pipeline.sample_volumes import chunk_file

METHODS: dict[str, dict[str, Any]] = {
    "ddgm": {"name": "ddgm", "steps": 4, "gradient_steps": 2, "planes": "alternate"},
    "ddx": {"name": "ddx", "steps": 4, "planes": "alternate"},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("volume")
    return phantom_volume(folder, (32, 40, 16), chunk=(32, 40, 8))


def coupled(
    url: str, output: Path | str, weights: Path, method: dict[str, Any], **block: int
) -> Spec:
    data = spec_data(url, output, weights, block=block)
    return Spec.model_validate(data | {"method": method})


def written(spec: Spec) -> dict[str, bytes]:
    context = prepare(spec)
    for index in range(context.plan.block_count):
        assert run_block(context, index).state == "done"
    return layers(Path(spec.output.path))


@pytest.mark.parametrize("name", METHODS)
def test_blocks_whose_halo_is_the_whole_volume_give_what_one_block_gives(
    url: str, tmp_path: Path, tiny_prior: Path, name: str
) -> None:
    method = METHODS[name]
    one = written(coupled(url, tmp_path / "one", tiny_prior, method, slices=16))
    two = written(coupled(url, tmp_path / "two", tiny_prior, method, slices=8, halo=8))
    assert one == two
    apart = written(coupled(url, tmp_path / "apart", tiny_prior, method, slices=8, halo=0))
    assert one["reconstruction"] != apart["reconstruction"]
    assert all(one[k] == apart[k] for k in ("truth", "sinogram", "algebraic"))


def test_a_block_reads_its_neighbours_up_to_the_box_and_counts_its_own(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    plan = make_plan(coupled(url, "run", tiny_prior, METHODS["ddx"], slices=4, halo=3))
    first, middle, last = (plan.block(i) for i in (0, 1, 3))
    along = [[origin[2] for origin in b.stack] for b in (first, middle, last)]
    assert along == [list(range(7, 14)), list(range(8, 18)), list(range(16, 23))]
    assert (first.own, middle.own, last.own) == (slice(0, 4), slice(3, 7), slice(3, 7))
    whole = fetch(plan, plan.block(2)).data
    assert np.array_equal(fetch(plan, middle).data[4:], whole[:6])  # slices 12 to 17
    own = phantom_volume(tmp_path / "em", (32, 40, 16), chunk=(32, 40, 8))
    chunk_file(tmp_path / "em", (10, 20, 15)).unlink()
    spec = coupled(own, "run", tiny_prior, METHODS["ddx"], slices=4, halo=3)
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"missing": 7})})
    lacking = make_plan(spec)
    counts = [fetch(lacking, b).missing_voxels for b in lacking.blocks()]
    assert counts == [0, 0, 4 * 32 * 40, 4 * 32 * 40]
    filled = fetch(lacking, lacking.block(1)).data
    assert (filled[7:] == 7).all()
    assert not (filled[:7] == 7).all()


def test_slices_that_stand_alone_have_no_halo(url: str, tiny_prior: Path) -> None:
    plan = make_plan(coupled(url, "run", tiny_prior, {"name": "ddx"}, halo=3))
    assert plan.block(1).stack == plan.block(1).origins
    assert plan.reads(plan.block(1)) == (plan.block(1).box,)
    assert coupling_cost(plan) == 1
    other = coupled(url, "run", tiny_prior, {"name": "ddx"}, halo=4)
    assert other.results_digest() == plan.spec.results_digest()
    both = [coupled(url, "run", tiny_prior, METHODS["ddx"], halo=n) for n in (3, 4)]
    assert both[0].results_digest() != both[1].results_digest()


def test_a_plan_counts_what_a_halo_costs(url: str, tiny_prior: Path) -> None:
    def plan(planes: str, halo: int) -> Any:
        method = METHODS["ddx"] | {"planes": planes}
        return make_plan(coupled(url, "run", tiny_prior, method, slices=8, halo=halo))

    # two tiles of 32 cover 40 pixels: 8 slices are 16 tiles; across, 32 depths are 64 tiles of
    # 32 slices, of which the block has 8, or 12 with its halo
    assert coupling_cost(plan("alternate", 0)) == (16 + 64) / 2 / 16
    assert coupling_cost(plan("alternate", 2)) == (24 + 64) / 2 / 16
    # chunks of 8 slices: two blocks of 8, and for each the chunk of the other, which is cached
    fetched = [fetch_bytes(plan("alternate", halo)) for halo in (0, 2)]
    assert fetched[0] == fetched[1]
    alone, both = (worker_memory(plan(p, 4)) for p in ("slice", "alternate"))
    assert both.block == 2 * alone.block
    assert both.batch > alone.batch


def test_fewer_slices_fit_where_a_halo_is_held_as_well(url: str, tiny_prior: Path) -> None:
    fits = []
    for planes in ("alternate", "slice"):
        method = METHODS["ddx"] | {"planes": planes}
        plan = make_plan(coupled(url, "run", tiny_prior, method, slices=8, halo=4))
        long = replace(plan.info, bounds=Box((10, 20, 7), (42, 60, 7 + 2**16)))
        fits.append(slices_that_fit(replace(plan, info=long), 10**9))
    assert 8 < fits[0] < fits[1] < 2**16


def test_the_shortest_block_of_low_cost_is_proposed(url: str, tiny_prior: Path) -> None:
    plan = make_plan(coupled(url, "run", tiny_prior, METHODS["ddx"], slices=8, halo=4))
    long = replace(plan, info=replace(plan.info, bounds=Box((10, 20, 7), (42, 60, 55))))
    # n slices of 2 tiles, and n + 8 beside 32 depths of 2 tiles: (n + 8 + 32) / 2n
    assert coupling_cost(with_slices(long, 20)) == 60 / 40 > LOW_COST
    assert coupling_cost(with_slices(long, 24)) == 64 / 48 < LOW_COST
    assert cheap_slices(long, 2**16) == 24
    assert cheap_slices(long, 23) == 0
    assert cheap_slices(plan, 2**16) == 0  # 16 slices and fewer cost (16 + 32) / 32 at least
    # all 48 slices are two tiles: (48 + 64) / 2n; no block is shorter than its halo
    for halo, fewest in ((25, 40), (43, 44)):
        spec = coupled(url, "run", tiny_prior, METHODS["ddx"], slices=44, halo=halo)
        assert cheap_slices(replace(long, spec=spec), 2**16) == fewest


@pytest.mark.parametrize("slices", [1, 3])
def test_fewer_slices_than_a_patch_are_solved_by_reflection(
    url: str, tmp_path: Path, tiny_prior: Path, slices: int
) -> None:
    spec = coupled(url, tmp_path / "run", tiny_prior, METHODS["ddx"], slices=4, halo=2)
    box = {"z": (10, 42), "y": (20, 60), "x": (9, 9 + slices)}
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"box": box})})
    assert make_plan(spec).shortest_stack == slices  # of the 32 that a patch has
    assert len(written(spec)["reconstruction"]) == 32 * 40 * slices
    (record,) = RunStore(spec.output.path).ledger.records()
    assert [("neighbours" in row) for row in record.metrics] == [True] * (slices - 1) + [False]
    assert not any("ssim_across" in row for row in record.metrics)


def test_slices_further_apart_than_pixels_are_refused_with_all_sides(
    tmp_path: Path, tiny_prior: Path
) -> None:
    flat = phantom_volume(tmp_path / "em", (32, 40, 8), voxel_size_nm=(16, 16, 40))
    spec = coupled(flat, tmp_path / "run", tiny_prior, METHODS["ddx"], slices=4, halo=2)
    sides = "16 nm along z, 16 nm along y and 40 nm along x"
    with pytest.raises(PriorError, match=f"cubes of 16 nm, and voxels are {sides}"):
        prepare(spec)
    assert not (tmp_path / "run").exists()
    allowed = spec.prior.model_copy(update={"any_voxel_size": True})
    assert prepare(spec.model_copy(update={"prior": allowed})).plan.spec.prior.any_voxel_size


def test_a_halo_larger_than_its_block_is_refused(url: str, tiny_prior: Path) -> None:
    alone = {"name": "ddx"}
    coupled(url, "run", tiny_prior, alone, slices=4, halo=5)  # it is not looked at
    with pytest.raises(ValidationError, match=r"block.halo: 5 slices on either side are more than"):
        coupled(url, "run", tiny_prior, METHODS["ddx"], slices=4, halo=5)
