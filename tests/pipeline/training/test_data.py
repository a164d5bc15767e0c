"""From volumes to patches: what fits together, what is at hand, what normalises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ddgm.core.errors import DdgmError
from ddgm.core.intensity import Intensity
from ddgm.core.training.callbacks import LOOK_STEPS
from ddgm.core.training.data import NoisyPatches, planes
from ddgm.pipeline.training.bricks import AHEAD, fetch
from ddgm.pipeline.training.data import (
    drawing,
    intensity,
    training_pairs,
    training_volumes,
    validation_patches,
)
from ddgm.pipeline.training.spec import TrainingSpec
from tests.pipeline.sample_volumes import grey, write_volume
from tests.pipeline.training.specs import training_spec, volume

SMALL = (12, 20, 24)
UNIT = Intensity(mean=0.0, std=1.0)


def refused(url: str, data: dict[str, Any] | None = None, **more: Any) -> str:
    with pytest.raises(DdgmError) as caught:
        training_volumes(training_spec(url, "out", data, **more))
    message = str(caught.value)
    assert "\n" not in message
    return message


def shares(spec: TrainingSpec) -> list[float]:
    return [volume.share for volume in training_volumes(spec)]


def test_a_volume_smaller_than_a_patch_is_named(tmp_path: Path) -> None:
    good, bad = volume(tmp_path / "a", SMALL), volume(tmp_path / "b", (15, 15, 99))
    message = refused(bad, {"volumes": [{"url": good}, {"url": bad}]})
    assert message.startswith("data.volumes[1]: a volume of z 15, y 15, x 99 voxels holds no patch")


def test_a_box_is_what_counts(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (40, 40, 40), offset=(100, 0, 0))
    box = {"z": [100, 112], "y": [4, 34], "x": [2, 40]}
    (found,) = training_volumes(training_spec(url, "out", {"volumes": [{"url": url, "box": box}]}))
    assert found.bricks.bytes == 12 * 30 * 38
    small = {**box, "y": [4, 14], "z": [100, 110]}
    message = refused(url, {"volumes": [{"url": url, "box": small}]})
    assert message.startswith("data.volumes[0]: a volume of z 10, y 10, x 38")
    outside = {**box, "z": [99, 120]}
    message = refused(url, {"volumes": [{"url": url, "box": outside}]})
    assert message.startswith("data.volumes[0].box: z 99:120")
    assert "outside the volume, z 100:140" in message


def test_voxels_of_different_sizes_are_refused(tmp_path: Path) -> None:
    urls = [volume(tmp_path / f"{nm}", SMALL, voxel_size_nm=(nm, nm, nm)) for nm in (8, 16)]
    message = refused(urls[0], {"volumes": [{"url": url} for url in urls]})
    assert message.startswith("data.volumes: voxels of [(8.0, 8.0, 8.0), (16.0, 16.0, 16.0)] nm")


def test_voxels_that_are_no_cubes_are_refused_unless_the_spec_says_otherwise(
    tmp_path: Path,
) -> None:
    flat = volume(tmp_path / "flat", (20, 40, 36), voxel_size_nm=(40, 8, 8))
    cubes = volume(tmp_path / "cubes", (20, 40, 36))
    message = refused(cubes, {"volumes": [{"url": cubes}, {"url": flat}]})
    assert message.startswith(f"data.volumes[1].url: voxels of {flat}, mip 0, are 40 nm along z, 8")
    assert message.endswith("with data.any_voxel_size: true")
    spec = training_spec(cubes, tmp_path / "out", validation={"url": flat})
    with pytest.raises(DdgmError, match=r"^validation\.url: .* 8 nm along y and 8 nm along x"):
        validation_patches(spec, UNIT)
    allowed = {"volumes": [{"url": flat}], "any_voxel_size": True}
    spec = training_spec(flat, tmp_path / "out", allowed, validation={"url": flat})
    assert len(training_volumes(spec)) == 1
    assert validation_patches(spec, UNIT) is not None


def test_shares_are_of_voxels_or_as_given_beside_the_phantoms(tmp_path: Path) -> None:
    a, b = volume(tmp_path / "a", (20, 20, 20)), volume(tmp_path / "b", (20, 20, 60))
    both: dict[str, Any] = {"volumes": [{"url": a}, {"url": b}]}
    assert shares(training_spec(a, "out", both)) == pytest.approx([0.25, 0.75])
    given = {"volumes": [{"url": a, "share": 3.0}, {"url": b, "share": 1.0}]}
    assert shares(training_spec(a, "out", given)) == pytest.approx([0.75, 0.25])
    both["phantom"] = {"share": 0.2, "side": 16}
    spec = training_spec(a, tmp_path / "out", both)
    found = training_volumes(spec)
    assert [p.share for p in found] == pytest.approx([0.2, 0.6])
    assert drawing(spec, found, UNIT).shares == pytest.approx([0.2, 0.6, 0.2])


def test_bricks_take_turns_only_where_they_do_not_fit(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (32, 64, 64))
    brick = 32**3
    (all_of_it,) = training_volumes(training_spec(url, "out", {"cache": {"brick": 32}}))
    assert all_of_it.schedule.window(10**9) == (0, 1, 2, 3)
    room = {"brick": 32, "gigabytes": 3.5 * brick / 1e9}
    (some,) = training_volumes(training_spec(url, "out", {"cache": room}))
    assert (some.schedule.count, some.schedule.resident) == (4, 3 - AHEAD)
    assert some.schedule.turnover == 3 * brick // 16**2 + 1
    message = refused(url, {"cache": {**room, "gigabytes": 2.5 * brick / 1e9}})
    assert message.startswith("data.cache.gigabytes: ")
    assert url in message


@pytest.mark.parametrize("batch", [4, 100, 1000])
def test_a_turn_never_outruns_the_feeder(tmp_path: Path, batch: int) -> None:
    """It hears of the updates each LOOK_STEPS, and until then patches come from what it has."""
    url = volume(tmp_path / "em", (2, 64, 64), chunk=(2, 64, 64))
    cache = {"brick": 32, "gigabytes": 3.5 * 2 * 32**2 / 1e9}
    (found,) = training_volumes(
        training_spec(url, "out", {"cache": cache}, training={"batch": batch})
    )
    for told in range(0, 50 * LOOK_STEPS * batch, LOOK_STEPS * batch):
        had = found.schedule.window(told, AHEAD)
        last = told + LOOK_STEPS * batch - 1
        assert set(found.schedule.window(last)) <= set(had)


@pytest.mark.parametrize("patch", [16, 30])
@pytest.mark.parametrize("side", [31, 33, 40, 63, 65])
def test_every_brick_holds_a_patch(tmp_path: Path, side: int, patch: int) -> None:
    url = volume(tmp_path / "em", (side, side, side), chunk=(64, 64, 64))
    spec = training_spec(url, "out", {"cache": {"brick": 32}}, training={"patch": patch})
    (found,) = training_volumes(spec)
    for box in found.bricks.boxes:
        assert len(planes(box.shape, patch)) == 3


@pytest.mark.process
def test_mean_and_std_are_over_all_voxels_and_measured_once(tmp_path: Path) -> None:
    shapes = [(20, 40, 36), (16, 70, 20)]
    urls = [volume(tmp_path / f"em{i}", shape, i) for i, shape in enumerate(shapes)]
    voxels = np.concatenate([grey(s, seed=i).ravel() for i, s in enumerate(shapes)])
    out = tmp_path / "out"
    out.mkdir()
    data = {"volumes": [{"url": u} for u in urls], "cache": {"brick": 32}}
    spec = training_spec(urls[0], out, data)
    console = Console(quiet=True)
    found = intensity(spec, training_volumes(spec), console)
    assert (found.mean, found.std) == pytest.approx((voxels.mean(), voxels.std()), rel=1e-6)
    assert intensity(spec, training_volumes(spec), console) == found
    (out / "intensity.json").write_text(json.dumps({"mean": 1.0, "std": 2.0}))
    again = intensity(spec, training_volumes(spec), console)
    assert (again.mean, again.std) == (1.0, 2.0)


def test_a_given_intensity_is_taken(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", SMALL)
    spec = training_spec(url, tmp_path / "out", {"intensity": {"mean": 100.0, "std": 50.0}})
    found = intensity(spec, training_volumes(spec), Console(quiet=True))
    assert (found.mean, found.std) == (100.0, 50.0)
    assert not (tmp_path / "out").exists()


@pytest.mark.process
def test_a_flat_volume_is_refused(tmp_path: Path) -> None:
    url = write_volume(tmp_path / "em", np.full((20, 20, 40), 77, np.uint8))
    (tmp_path / "out").mkdir()
    spec = training_spec(url, tmp_path / "out", {"cache": {"brick": 32}})
    with pytest.raises(DdgmError, match="all training voxels are equal"):
        intensity(spec, training_volumes(spec), Console(quiet=True))
    assert not (tmp_path / "out" / "intensity.json").exists()


def test_patches_come_from_the_volumes(tmp_path: Path) -> None:
    """Whose voxels are told apart by their levels."""
    urls = [write_volume(tmp_path / f"{v}", np.full((16, 20, 24), v, np.uint8)) for v in (50, 200)]
    spec = training_spec(
        urls[0],
        tmp_path / "out",
        {
            "volumes": [{"url": u, "share": s} for u, s in zip(urls, (3.0, 1.0), strict=True)],
            "intensity": {"mean": 100.0, "std": 50.0},
        },
    )
    found = training_volumes(spec)
    for one in found:
        fetch(one.bricks, 0, keep=True)
    assert spec.data.intensity is not None
    pairs = training_pairs(spec, drawing(spec, found, spec.data.intensity))
    assert isinstance(pairs, NoisyPatches)
    levels = []
    for i in range(300):
        noisy, noise, sigma = pairs[i]
        levels.append(float((noisy - float(sigma) * noise).mean()))
    rounded = np.round(levels, 2)
    assert set(np.abs(rounded)) == {1.0, 2.0}
    assert (rounded < 0).mean() == pytest.approx(0.75, abs=0.08)


def test_validation_patches_are_normalised_fixed_and_of_their_box(tmp_path: Path) -> None:
    data = grey((30, 30, 30))
    data[:16] //= 4
    url = write_volume(tmp_path / "em", data)
    box = {"z": [0, 16], "y": [0, 30], "x": [0, 30]}
    spec = training_spec(url, "out", validation={"url": url, "box": box, "patches": 9})
    a, b = (validation_patches(spec, UNIT) for _ in range(2))
    assert a is not None
    assert b is not None
    assert a.shape == (9, 1, 16, 16)
    assert bool((a == b).all())
    assert float(a.max()) < 64
    assert validation_patches(training_spec(url, "out"), UNIT) is None
    small = {**box, "y": [0, 9], "x": [0, 9]}
    spec = training_spec(url, "out", validation={"url": url, "box": small})
    with pytest.raises(DdgmError, match=r"^validation: a volume of z 16, y 9, x 9"):
        validation_patches(spec, UNIT)
