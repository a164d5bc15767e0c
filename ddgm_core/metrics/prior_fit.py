"""The fit of a prior to the data that it was used on, as a finished run tells it without truth.

Held-out views and the residual say whether projector and noise explain the data. They do not say
whether the prior does: in the directions that tilts measure, the data overrule it. So there the
reconstruction is held against the tissue that the prior was trained on, in how much power it has
and how that falls with frequency. And the prior is asked: what it was trained on it tells from
noise better than the same with its contrast inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddgm.core.metrics.tissue import Tissue, details, skewness
from ddgm.core.metrics.view_power import expected_power, power
from ddgm.core.networks.denoiser import Denoiser

INSIDE = 10.0  # degrees by which measured directions lie within the tilts
BANDS = range(2, 9)  # of 1/32 cycle a pixel; coarser, one piece of tissue differs from another
FEWEST = 4  # bands, and frequencies of one, that say something
TILE = 128  # pixels of width that are looked at at once
SIGMA = 1.0  # of the noise from which the prior tells a reconstruction

# What fits. On train_a, train_b and the validation half tissue lay within 0.69 to 1.25 and -0.56
# to 0.21; of twice and half the voxel size it lay at 0.33 and above, and at -0.72 and below, or had
# another power.
POWER = 0.6, 1.6
SLOPE = -0.8, 0.3
PREFERRED = 0.01  # tissue 0.033 and more, the phantom 0.017, inverted 0.001 at most
EXPLAINED = 2.0  # residual of views; gradient descent, which stops early, leaves 1.6


@dataclass(frozen=True)
class Likeness:
    """A reconstruction in its measured directions, against the tissue of a prior.

    Attributes:
        power: its power over the tissue's; 1 where it has the same variance.
        slope: by which the logarithm of that rises with the logarithm of frequency; 0 where the
            spectrum has the same shape.
        skewness: of details, for `Tissue.detail_skewness`; it differs too much from one piece of
            tissue to another to judge by.
    """

    power: float
    slope: float
    skewness: float


@dataclass(frozen=True)
class PriorFit:
    """All that is known of a prior's fit; None where something could not be found.

    Attributes:
        likeness: of the reconstruction to the prior's tissue.
        preference: see `preference`.
        residual: of the views that were used, in units of the noise.
        held_out: of those that were not.
    """

    likeness: Likeness | None = None
    preference: float | None = None
    residual: float | None = None
    held_out: float | None = None

    @property
    def reasons(self) -> list[str]:
        """Reasons why it does not fit, with numbers; none where nothing speaks against it."""
        found = []
        for what, score in (("views", self.residual), ("held-out views", self.held_out)):
            if score is not None and score > EXPLAINED:
                found.append(
                    f"its {what} are off by {score:.3g} times the noise's power, up to "
                    f"{EXPLAINED:g} fits: geometry, noise or prior are wrong"
                )
        if (like := self.likeness) is not None:
            if not POWER[0] <= like.power <= POWER[1]:
                found.append(
                    f"in measured directions the power is {like.power:.2g} times that of the "
                    f"prior's tissue, {POWER[0]} to {POWER[1]} fits: contrast, gain or voxel size "
                    "differ"
                )
            if not SLOPE[0] <= like.slope <= SLOPE[1]:
                what = "finer" if like.slope > 0 else "coarser"
                found.append(
                    f"there it is of {what} grain than the prior's tissue, by a power of "
                    f"{like.slope:+.2f} of frequency, {SLOPE[0]} to {SLOPE[1]} fits: voxel size or "
                    "tissue differ"
                )
        if (p := self.preference) is not None and p < PREFERRED:
            found.append(
                f"the prior prefers the contrast to its inverse by {p:.3f}, {PREFERRED} and more "
                "fits: the polarity is wrong, or this is no tissue that it knows"
            )
        return found

    @property
    def verdict(self) -> str:
        """All of it in a sentence."""
        if reasons := self.reasons:
            return f"This prior does not fit these data: {'; '.join(reasons)}."
        known = []
        if self.likeness is not None:
            known.append(
                f"in measured directions the power is {self.likeness.power:.2f} times that of the "
                f"prior's tissue and falls alike ({self.likeness.slope:+.2f})"
            )
        if self.preference is not None:
            known.append(f"the prior prefers the contrast to its inverse, by {self.preference:.3f}")
        if not known:
            return "Too little is measured to say whether the prior fits these data."
        return f"Nothing says that this prior does not fit these data: {', and '.join(known)}."


def likeness(
    slices: np.ndarray, angles: Sequence[float], tilt_noise: float, tissue: Tissue
) -> Likeness | None:
    """The likeness of normalised slices, (n, thickness, width) of square pixels, to tissue.

    Args:
        slices: reconstructed.
        angles: of the tilts, in radians.
        tilt_noise: σ_y.
        tissue: what the prior was trained on.

    Returns:
        None where too little is measured: few tilts, or on one side alone, or much noise.
    """
    shape = slices.shape[1], min(TILE, slices.shape[2])
    expected = expected_power(shape, tissue.slice_power)
    bands = measured_bands(shape, angles, tilt_noise, expected)
    if len(bands) < FEWEST:
        return None
    starts = range(0, slices.shape[2] - shape[1] + 1, shape[1])
    tiles = [s[:, a : a + shape[1]].astype(np.float64) for s in slices for a in starts]
    found = np.mean([power(tile) for tile in tiles], axis=0)
    ratios = [np.log(max(found[b].sum(), 1e-30) / expected[b].sum()) for b in bands.values()]
    counts = [np.sqrt(b.sum()) for b in bands.values()]
    line = np.polynomial.Polynomial.fit(np.log(list(bands)), ratios, 1, w=counts).convert()
    return Likeness(float(np.exp(np.mean(ratios))), float(line.coef[1]), skewness(details(slices)))


def measured_bands(
    shape: tuple[int, int], angles: Sequence[float], tilt_noise: float, expected: np.ndarray
) -> dict[int, np.ndarray]:
    """Those of a tile's frequencies, by `BANDS`, at which tilts see tissue above their noise.

    Views within the tilts lie as close as there are views in a radian over the frequency, which is
    A's squared singular value there.

    Args:
        shape: of the tile.
        angles: of the tilts, in radians.
        tilt_noise: σ_y.
        expected: power of the tissue, as `expected_power` gives it.

    Returns:
        Which of (H, W // 2 + 1) frequencies are in each band, of the bands that have some.
    """
    down, across = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    frequency, direction = np.hypot(down, across), np.arctan2(np.abs(down), across)
    reach = min(max(angles), -min(angles)) - np.radians(INSIDE)
    density = len(angles) / max(max(angles) - min(angles), 1e-6)
    seen = density / np.maximum(frequency, 1e-6) * expected > tilt_noise**2
    band = np.rint(32 * frequency).astype(int)
    found = {k: seen & (direction < reach) & (band == k) for k in BANDS}
    return {k: which for k, which in found.items() if which.sum() >= FEWEST}


def preference(denoise: Denoiser, slices: Tensor) -> float:
    """A prior's preference for slices over their negatives, in telling them from noise; -1 to 1.

    It is the difference of the mean square errors of its ε̂ over their sum, at σ = `SIGMA`.

    Args:
        denoise: the prior's network.
        slices: normalised, (B, 1, H, W).
    """
    noise = torch.randn(slices.shape, generator=torch.Generator().manual_seed(0)).to(slices)
    right, inverted = (
        float((denoise(sign * slices + SIGMA * noise) - noise).square().mean()) for sign in (1, -1)
    )
    return (inverted - right) / (inverted + right)
