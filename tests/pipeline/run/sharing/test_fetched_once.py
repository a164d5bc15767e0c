"""Source chunks that several blocks read, against what a server is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.block.stages import fetch, run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.cost.fetch import cache_bytes, fetch_bytes, sharing
from ddgm.pipeline.spec.opened import source_volume
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from tests.pipeline.runs import layers, phantom_volume, small_spec
from tests.pipeline.sample_volumes import Server, grey, serve
from tests.pipeline.volumes.ome_images import write_ome

SHAPE, CHUNK = (64, 140, 16), (32, 32, 8)  # two slabs; two blocks of four slices to a chunk
CHUNKS = 2 * 5 * 2
ALTERNATE: dict[str, Any] = {"method": {"name": "ddgm", "planes": "alternate"}}
PARTS: dict[str, dict[str, Any]] = {
    "aligned": {},
    "off the chunks": {"source": {"box": {"z": [10, 74], "y": [20, 160], "x": [9, 21]}}},
    "with a halo": ALTERNATE | {"block": {"slices": 4, "batch": 4, "halo": 3}},
    "resampled": {"source": {"resample": 20}},
}
pytestmark = pytest.mark.server


def chunks_of(server: Server) -> Counter[str]:
    """How often each chunk was asked for."""
    counted = Counter(server.requests)
    return Counter({path: n for path, n in counted.items() if "_" in path or "/c/" in path})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume")
    phantom_volume(folder / "em", SHAPE, chunk=CHUNK)
    return folder


@pytest.mark.parametrize("name", PARTS)
def test_a_worker_fetches_each_chunk_once(folder: Path, tiny_prior: Path, name: str) -> None:
    with serve(folder / "em") as server:
        plan = make_plan(small_spec(server.url, "run", tiny_prior, **PARTS[name]))
        read = [fetch(plan, block).data for block in plan.blocks()]
    assert set(chunks_of(server).values()) == {1}
    local = replace(plan, spec=small_spec(local_url(folder), "run", tiny_prior, **PARTS[name]))
    for block, data in zip(plan.blocks(), read, strict=True):  # in the order that shares nothing
        source_volume(local.spec).chunks.clear()
        np.testing.assert_array_equal(fetch(local, block).data, data)


def test_a_worker_fetches_each_chunk_of_an_image_once(tmp_path: Path, tiny_prior: Path) -> None:
    data = grey(SHAPE)
    write_ome(tmp_path / "em.zarr", data, chunks=CHUNK)
    with serve(tmp_path) as server:
        plan = make_plan(small_spec(f"zarr://{server.address}/em.zarr", "run", tiny_prior))
        read = np.concatenate([fetch(plan, block).data for block in plan.blocks()])
    np.testing.assert_array_equal(read[: SHAPE[2]], data[:32].transpose(2, 0, 1))
    assert (set(chunks_of(server).values()), len(chunks_of(server))) == ({1}, CHUNKS)


def test_what_is_planned_is_what_is_asked_for(tiny_prior: Path) -> None:
    """Chunks of slabs that lie off the chunks are read for each slab, whatever its blocks."""

    def plan(**parts: dict[str, Any]) -> Plan:
        info = VolumeInfo(Box((0, 0, 0), SHAPE), (16.0,) * 3, "uint8", CHUNK, 1, 0)  # type: ignore[arg-type]
        return make_plan(small_spec("a", "run", tiny_prior, **parts), info)

    aligned, off = plan(), plan(source={"box": {"z": [0, 64], "y": [0, 128], "x": [4, 16]}})
    assert fetch_bytes(aligned).touched == CHUNKS * prod(CHUNK)
    assert [sharing(aligned)(block) for block in range(5)] == [False, True, False, True, False]
    assert [sharing(off)(block) for block in range(4)] == [False, False, True, False]
    halo = plan(**ALTERNATE, block={"slices": 4, "batch": 4, "halo": 3})
    assert [sharing(halo)(block) for block in range(5)] == [False, True, True, True, False]
    assert cache_bytes(halo) >= 2 * 5 * 3 * prod(CHUNK)  # ten slices touch three chunks
    huge = replace(aligned, info=replace(aligned.info, chunk_shape=(1000, 1000, 1000)))
    assert (cache_bytes(huge), sharing(huge)(1)) == (0, False)


@pytest.mark.cluster
def test_two_workers_fetch_no_chunk_twice(folder: Path, tmp_path: Path, tiny_prior: Path) -> None:
    """But for the blocks that the one takes over from the other at the end, and a first look."""
    with serve(folder / "em") as server:
        cluster = {"kind": "local", "workers": 2, "memory": "4GiB"}
        run(small_spec(server.url, tmp_path / "run", tiny_prior, cluster=cluster), lambda _: None)
    counts = chunks_of(server)
    assert len(counts) == CHUNKS
    assert sum(counts.values()) <= CHUNKS + CHUNKS // 4 + 1
    context = prepare(small_spec(local_url(folder), tmp_path / "alone", tiny_prior))
    for block in reversed(range(context.plan.block_count)):
        run_block(context, block)
    assert layers(tmp_path / "alone") == layers(tmp_path / "run")


def local_url(folder: Path) -> str:
    return f"precomputed://file://{folder}/em"
