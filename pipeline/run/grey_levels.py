"""A check before any block: can a source's grey levels be those that its prior learnt?"""

from __future__ import annotations

import numpy as np

from ddgm.core.networks.prior import PriorError
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.spec.opened import source_volume, tilt_series
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import SourceError

PROBE_SIDE = 64  # side of the box whose grey levels are looked at before a run, in voxels
MAX_NORMALISED = 4.0  # normalised mean or std at which they cannot be what the prior learnt


def check_grey(plan: Plan) -> None:
    """Check by one read that the source can be what the prior knows, before its blocks are read.

    Raises:
        PriorError: it is far from it.
        SourceError: it cannot be read.
    """
    if plan.is_measured:
        return _check_levels(plan)
    box = plan.block(0).box
    middle = [(a + b) // 2 for a, b in zip(box.start, box.stop, strict=True)]
    start = [max(a, m - PROBE_SIDE // 2) for a, m in zip(box.start, middle, strict=True)]
    stop = [min(b, m + PROBE_SIDE // 2) for b, m in zip(box.stop, middle, strict=True)]
    try:
        voxels = source_volume(plan.spec).read(Box(tuple(start), tuple(stop))).data  # type: ignore[arg-type]
    except SourceError as error:
        if error.kind in ("missing", "corrupt", "invalid"):  # of one place: its block says so
            return None
        raise
    grey = grey_scale(plan)
    x = grey.normalised(voxels)
    mean, std = float(x.mean()), float(x.std())
    strange = max(abs(mean), std) > MAX_NORMALISED  # NaN is not: the blocks say so themselves
    if not strange or voxels.min() == voxels.max():  # nor is the emptiness beside a tissue
        return None
    chosen = plan.spec.source.intensity
    raise PriorError(
        f"source.intensity: with mean {grey.mean:.4g} and std {grey.std:.4g} "
        f"({'the spec' if chosen else plan.spec.prior.weights}'s), the first block's middle is "
        f"{mean:.3g} ± {std:.3g} where the prior learnt 0 ± 1; give the volume's own mean and std, "
        f"near {voxels.mean():.4g} and {voxels.std():.3g}"
    )


def _check_levels(plan: Plan) -> None:
    """The same of a measured series: sums along beams through what the prior knows."""
    g, first = plan.geometry, plan.block(0).origins
    row = first[len(first) // 2][2]
    series = tilt_series(plan.spec)
    y, covered = series.read(row, row + 1)[0], series.covered(row, row + 1)[0]
    lengths = g.thickness / np.cos(g.angles)[:, None]
    x = (y / lengths)[covered]  # the mean along each beam
    if x.size and np.abs(x.mean()) + x.std() > MAX_NORMALISED:
        raise PriorError(
            f"source.views: with its gains and offsets, slice {row} is {x.mean():.3g} ± "
            f"{x.std():.3g} along its beams, where the prior learnt 0 ± 1 in each voxel; fit them "
            "with `ddgm import`"
        )
