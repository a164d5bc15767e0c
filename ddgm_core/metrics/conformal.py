"""Intervals that hold at a stated rate: an error map learnt from truth, and a scale that keeps it.

The scale is that of conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR
2024, arXiv 2208.02814, Theorem 1). A slice's loss is the share of its pixels whose truth lies
outside x ± scale · map; it lies within 0 and 1, and falls as the scale grows. With n slices that
the map was not learnt from, and the smallest scale at which n/(n+1) · (mean loss) + 1/(n+1) ≤ α,
the expected loss of another slice is at most α, if the n + 1 are exchangeable: whatever the map is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor

from ddgm.core.errors import DdgmError

WINDOW = 7  # pixels a side of what is local
BINS = 12  # of a feature, as many pixels in each
SWEEPS = 10  # over all features; the factors change by less than 0.1 % after so many


class TooFewError(DdgmError):
    """Fewer slices than a promise needs."""


@dataclass(frozen=True)
class Curve:
    """Factor of the squared error over a feature: points with straight lines between them.

    Attributes:
        at: values of the feature, rising.
        factors: there; beyond the first and the last they stay.
    """

    at: tuple[float, ...]
    factors: tuple[float, ...]

    def __call__(self, feature: np.ndarray) -> np.ndarray:
        """The factor of each pixel."""
        return np.interp(feature, self.at, self.factors)


@dataclass(frozen=True)
class ErrorMap:
    """Expected squared error of a pixel: a product of factors, one for each feature.

    Attributes:
        mean_square: of the error over all pixels, in normalised units.
        curves: by feature.
    """

    mean_square: float
    curves: Mapping[str, Curve]

    def __call__(self, features: Mapping[str, Tensor]) -> Tensor:
        """The root of the expected squared error, as the features are shaped, float32."""
        product = np.full((1,), self.mean_square)
        for name, curve in self.curves.items():
            product = product * curve(features[name].cpu().numpy())
        return torch.from_numpy(np.sqrt(product).astype(np.float32))


def pixel_features(x: Tensor, spread: Tensor, measured: Tensor) -> dict[str, Tensor]:
    """All that a run knows of each pixel without truth, by name, (B, thickness, width) each.

    Args:
        x: normalised slices, (B, thickness, width).
        spread: of their chains.
        measured: their measured share.
    """
    rows = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device) + 0.5
    depth = torch.minimum(rows, x.shape[-2] - rows)
    level = _local_mean(x)
    return {
        "spread": _local_mean(spread),
        "measured": measured,
        "depth": depth[:, None].expand_as(x),
        "contrast": (_local_mean(x**2) - level**2).clamp_min(0).sqrt(),
        "level": _local_mean(x, 3),
    }


def _local_mean(x: Tensor, window: int = WINDOW) -> Tensor:
    """Mean over the window about each pixel; what lies beyond an edge does not count."""
    pool = torch.nn.functional.avg_pool2d
    return pool(x[:, None], window, 1, window // 2, count_include_pad=False)[:, 0]


def learn_error_map(features: Mapping[str, np.ndarray], errors: np.ndarray) -> ErrorMap:
    """The map that a truth teaches: in every bin of every feature, right in the mean square.

    Args:
        features: by name, (pixels,) each.
        errors: reconstruction less truth, (pixels,), in normalised units.
    """
    squares = errors.astype(float) ** 2
    mean_square = float(squares.mean())
    product = np.full(squares.shape, mean_square)
    places, bins, factors = {}, {}, {}
    for name, feature in features.items():
        edges = np.unique(np.quantile(feature, np.linspace(0, 1, BINS + 1)))
        bins[name] = np.searchsorted(edges[1:-1], feature)
        count = np.bincount(bins[name], minlength=max(len(edges) - 1, 1))
        places[name] = np.bincount(bins[name], feature, len(count)) / np.maximum(count, 1)
        factors[name] = np.ones(len(count))
    for _ in range(SWEEPS):
        for name, bin_ in bins.items():
            found, expected = (
                np.bincount(bin_, values, len(factors[name])) for values in (squares, product)
            )
            ratio = np.divide(found, expected, out=np.ones_like(found), where=expected > 0)
            factors[name] *= ratio
            product *= ratio[bin_]
    curves = {
        name: Curve(tuple(places[name].tolist()), tuple(factors[name].tolist())) for name in bins
    }
    return ErrorMap(mean_square, curves)


def needed_slices(rate: float) -> int:
    """Fewest slices for which conformal risk control has a finite scale at this rate."""
    return ceil(round(1 / (1 - rate), 9)) - 1


def allowed_misses(count: int, rate: float) -> float:
    """The mean loss of `count` slices up to which the next one's is expected to keep the rate."""
    return ((1 - rate) * (count + 1) - 1) / count


def conformal_scale(ratios: np.ndarray, rate: float) -> float:
    """The smallest scale of the map that promises this rate; see the module.

    Args:
        ratios: |error| over map, (slices, pixels), of slices that the map was not learnt from.
        rate: 1 - α, the share of pixels to be inside.

    Raises:
        TooFewError: fewer slices than the rate needs.
    """
    count, needed = len(ratios), needed_slices(rate)
    if count < needed:
        raise TooFewError(f"{count} slices cannot promise a rate of {rate:g}, but {needed} can")
    outside = floor(allowed_misses(count, rate) * ratios.size + 1e-9)
    last = ratios.size - 1 - outside  # in rising order, the last that is inside
    return float(np.partition(ratios, last, axis=None)[last])
