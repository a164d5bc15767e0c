"""Data of a training: volumes in bricks, and the numbers that normalise them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ddgm.core.errors import DdgmError
from ddgm.core.files import atomic_write
from ddgm.core.intensity import Intensity
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.training.brick_schedule import BrickSchedule
from ddgm.core.training.callbacks import LOOK_STEPS
from ddgm.core.training.data import (
    AXES,
    Drawing,
    NoisyPatches,
    PatchSource,
    TiltedSlices,
    planes,
    slice_axes,
)
from ddgm.core.training.statistics import Moments
from ddgm.pipeline.progress_bar import Bar
from ddgm.pipeline.spec.base import nearly_equal, sides_in_words
from ddgm.pipeline.training.bricks import AHEAD, Bricks, cut, fetchers, moments
from ddgm.pipeline.training.spec import Region, TrainingRegion, TrainingSpec
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.coordinates import Point
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.patches import random_patches
from ddgm.pipeline.volumes.volume import Volume

ORIENTATIONS = 3


@dataclass(frozen=True)
class TrainingVolume:
    """A volume to train on: its bricks, when each is drawn from, and its share of all patches."""

    bricks: Bricks
    schedule: BrickSchedule
    share: float


def open_region(spec: TrainingSpec, region: Region, field: str) -> tuple[Volume, Box]:
    """A region's volume, and its box in voxels.

    Raises:
        DdgmError: the volume cannot be read, its voxels are not cubes and the spec does not allow
            for that, or the box lies outside it or holds no patch.
    """
    volume = open_volume(region.url, region.mip, region.missing)
    _check_sides(spec, region, volume.info.voxel_size_nm, field)
    bounds = volume.info.bounds
    box = bounds
    if region.box is not None:
        spans = [region.box[axis] for axis in AXES]  # type: ignore[index]
        box = Box(tuple(a for a, _ in spans), tuple(b for _, b in spans))  # type: ignore[arg-type]
    if not box.inside(bounds):
        raise DdgmError(f"{field}.box: {box} reaches outside the volume, {bounds}; make it smaller")
    try:
        planes(box.shape, spec.training.patch, spec.recipe().stack)
        if spec.restore and isinstance(region, TrainingRegion):
            slice_axes(box.shape, (spec.training.patch, spec.restore.width), spec.recipe().stack)
    except DdgmError as error:
        raise DdgmError(f"{field}: {error}") from error
    return volume, box


def _check_sides(spec: TrainingSpec, region: Region, size_nm: Point, field: str) -> None:
    """Refuse voxels that are not cubes, unless the spec allows them."""
    if spec.data.any_voxel_size or nearly_equal(size_nm):
        return
    sides = sides_in_words(dict(zip(AXES, size_nm, strict=True)))
    raise DdgmError(
        f"{field}.url: voxels of {region.url}, mip {region.mip}, are {sides}, and a prior is "
        "trained on cubes; give a mip or a volume of cubes, or train on it all the same with "
        "data.any_voxel_size: true"
    )


def training_volumes(spec: TrainingSpec) -> list[TrainingVolume]:
    """The volumes of a spec in bricks, as many of them on disk at once as the cache has room for.

    Raises:
        DdgmError: a volume cannot be used, or the cache has no room for its bricks.
    """
    data, patch = spec.data, spec.training.patch
    opened = [open_region(spec, r, f"data.volumes[{i}]") for i, r in enumerate(data.volumes)]
    sizes = {volume.info.voxel_size_nm for volume, _ in opened}
    if len(sizes) > 1:
        raise DdgmError(f"data.volumes: voxels of {sorted(sizes)} nm; mix volumes of one size")
    boxes = zip(data.volumes, opened, strict=True)
    weights = np.array([region.share or prod(box.shape) for region, (_, box) in boxes])
    shares = weights / weights.sum() * (1 - (data.phantom.share if data.phantom else 0.0))
    folder = Path(data.cache.folder or Path(spec.output) / "bricks").expanduser().absolute()
    side = max(data.cache.brick, 2 * patch)  # so that about equal parts hold a patch
    bricks = [Bricks(volume, tuple(cut(box, side)), folder) for volume, box in opened]
    fits = sum(b.bytes for b in bricks) <= data.cache.gigabytes * 1e9
    return [
        TrainingVolume(
            b, _schedule(b, None if fits else share * data.cache.gigabytes * 1e9, spec), share
        )
        for b, share in zip(bricks, shares.tolist(), strict=True)
    ]


def _schedule(bricks: Bricks, room: float | None, spec: TrainingSpec) -> BrickSchedule:
    """The schedule of a volume's bricks in `room` bytes of cache; None has room for all.

    A brick stays until its voxels have been seen about once in each orientation, and until the
    prefetcher has heard of the next updates: it fetches no more than `AHEAD` before.
    """
    count, largest = len(bricks), max(bricks.boxes, key=lambda box: prod(box.shape))
    seen = ORIENTATIONS * prod(largest.shape) // spec.training.patch**2 + 1
    turnover = max(seen, LOOK_STEPS * spec.training.batch)
    if room is None:
        return BrickSchedule(count, count, turnover, spec.training.seed)
    brick = bricks.bytes_of(largest)
    resident = int(room // brick) - AHEAD
    if resident < 1:
        raise DdgmError(
            f"data.cache.gigabytes: {spec.data.cache.gigabytes:g} has no room for {AHEAD + 1} "
            f"bricks of {brick / 1e9:.2g} GB of {bricks.volume.url} beside the other volumes; "
            "raise it, or lower data.cache.brick"
        )
    return BrickSchedule(count, resident, turnover, spec.training.seed)


def intensity(spec: TrainingSpec, volumes: Sequence[TrainingVolume], console: Console) -> Intensity:
    """The normalising mean and std: the spec's, or measured once in a pass over all voxels.

    Raises:
        DdgmError: a brick cannot be read, or all voxels are equal.
    """
    if spec.data.intensity is not None:
        return spec.data.intensity
    kept = Path(spec.output) / "intensity.json"
    if kept.exists():
        return Intensity(**json.loads(kept.read_text()))
    count = sum(len(v.bricks) for v in volumes)
    total = Moments()
    with Bar(console) as progress, fetchers(min(spec.data.cache.processes, count)) as pool:
        task = progress.add_task("reading, measuring", total=count)
        for found in moments([(v.bricks, v.schedule) for v in volumes], pool):
            total += found
            progress.advance(task)
    measured = Intensity(mean=total.mean, std=total.std)
    atomic_write(kept, (json.dumps(asdict(measured)) + "\n").encode())
    return measured


def drawing(spec: TrainingSpec, volumes: Sequence[TrainingVolume], normal: Intensity) -> Drawing:
    """The volumes that patches are drawn from."""
    names = [f"{v.bricks.volume.url} (mip {v.bricks.volume.mip})" for v in volumes]
    drawn = [
        PatchSource(name, v.bricks, v.share, v.schedule)
        for name, v in zip(names, volumes, strict=True)
    ]
    if phantom := spec.data.phantom:
        made = neuropil((phantom.side, phantom.side, phantom.side), phantom.seed)
        drawn.append(PatchSource("phantom", [made], phantom.share))
    return Drawing(tuple(drawn), normal.mean, normal.std, spec.training.seed)


def training_pairs(spec: TrainingSpec, source: Drawing) -> NoisyPatches | TiltedSlices:
    """Pairs to learn from: noisy patches and noise, or slices and the noise of their tilts."""
    t = spec.training
    if spec.restore:
        return TiltedSlices(source, spec.recipe())
    return NoisyPatches(source, t.patch, t.sigma, spec.network.channels)


def validation_patches(spec: TrainingSpec, normal: Intensity) -> Tensor | None:
    """(patches, stack, patch, patch) normalised, at random but fixed places; or none.

    Raises:
        DdgmError: the volume cannot be read, or holds no patch.
    """
    tried, patch = spec.validation, spec.training.patch
    if tried is None:
        return None
    volume, box = open_region(spec, tried, "validation")
    grey = random_patches(volume, box, patch, tried.patches, seed=0, channels=spec.recipe().stack)
    return torch.from_numpy(normal.normalised(grey))
