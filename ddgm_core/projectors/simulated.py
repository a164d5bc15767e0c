"""Tilt series by the projector that reconstructs, or by an acquisition that differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.protocol import Projector
from ddgm.core.projectors.ray_sums import ray_sums
from ddgm.core.simulation.acquisition import Acquisition, counted, view_errors
from ddgm.core.simulation.noise import NoiseField, SliceOrigin
from ddgm.core.simulation.tilt_series import tilt_series


def simulated(
    projector: Projector,
    slices: Tensor,
    tilt_noise: float,
    seed: int,
    origins: Sequence[SliceOrigin],
    acquisition: Acquisition | None = None,
) -> Tensor:
    """Sinograms of slices, (B, views, bins).

    Args:
        projector: A, and the views.
        slices: x, (B, thickness, width), normalised.
        tilt_noise: σ_y, normalised units.
        seed: of noise and of views' errors.
        origins: of the slices in their volume, which decide both with the seed.
        acquisition: how they are made, if not as y = Ax + σ_y ε.
    """
    if acquisition is None:
        return tilt_series(projector.forward, slices, tilt_noise, seed, origins)
    parts, a = [], projector.geometry
    pairs = zip(slices.cpu().numpy(), origins, strict=False)  # origins may go on, for a last batch
    for _, slab in groupby(pairs, lambda pair: pair[1][:2]):  # whose views have the same errors
        x, places = zip(*slab, strict=True)
        parts.append(_acquired(np.stack(x), a, tilt_noise, seed, places, acquisition))
    return torch.from_numpy(np.concatenate(parts)).to(slices)


def _acquired(
    x: np.ndarray,
    geometry: TiltGeometry,
    tilt_noise: float,
    seed: int,
    origins: Sequence[SliceOrigin],
    acquisition: Acquisition,
) -> np.ndarray:
    """Sinograms of slices of one slab."""
    errors = view_errors(acquisition, geometry.views, seed, origins[0])
    angles = (float(a + e) for a, e in zip(geometry.angles, errors.angle, strict=True))
    true = replace(geometry, angles=tuple(angles))
    how = acquisition.kernel, acquisition.subsampling, errors.shift
    y, noise = ray_sums(x, true, *how), NoiseField(seed, "sinogram")
    if acquisition.dose is not None:
        empty = ray_sums(np.ones_like(x[:1]), true, *how)[0]
        for sums, origin in zip(y, origins, strict=True):
            rng = noise.generator(origin)
            sums[:] = counted(sums, empty, geometry.thickness, acquisition.dose, rng)
    y = errors.gain[:, None] * y + errors.offset[:, None]
    if acquisition.dose is None:
        y = y + tilt_noise * np.stack([noise.slice(y.shape[1:], origin) for origin in origins])
    return y.astype(np.float32)
