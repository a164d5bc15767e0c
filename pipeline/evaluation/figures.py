"""Pictures of a prior: its samples, and curves; arrays in, PNG bytes out, as in `figures`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddgm.core.metrics.realism import Distance, Realism, gradient_magnitude, radial_power
from ddgm.pipeline.figures import (
    GAP,
    INK,
    OURS,
    ROOM,
    Curve,
    Panel,
    Plot,
    grey_window,
    grid,
    plots,
    stack,
)

COLUMNS = 8


def samples(generated: np.ndarray, real: np.ndarray | None, pixel_nm: float, note: str) -> bytes:
    """Generated images above real ones, as many and in the same shades (the paper's Fig. 2).

    Args:
        generated: (n, H, W); as many of them are shown as fit.
        real: (at least n, H, W), or None: the generated ones alone.
        pixel_nm: side of a pixel.
        note: for the foot of the figure.
    """
    count, height, width = generated.shape
    columns = min(count, COLUMNS, max(1, ROOM[0] // (width + GAP)))
    shown = min(count, columns * max(1, ROOM[1] // 2 // (height + GAP)))
    window = grey_window(generated if real is None else real)
    part = "" if shown == count else f" ({shown} of {count})"
    panels = [Panel(f"Generated{part}", grid(generated[:shown], columns), window)]
    if real is not None:
        panels.append(Panel("Real", grid(real[:shown], columns), window))
    return stack(panels, panels[0].image.shape[1], pixel_nm, note)


def realism(generated: np.ndarray, real: np.ndarray, scores: Realism) -> bytes:
    """The three statistics of generated and real patches, (n, side, side), normalised."""
    groups = (("real", INK, real), ("generated", OURS, generated))
    side = real.shape[-1]
    frequency = np.arange(1, side // 2 + 1) / side
    spectra = [Curve(n, c, frequency, radial_power(x).mean(axis=0)) for n, c, x in groups]
    intensity = _densities(groups)
    gradient = _densities([(n, c, gradient_magnitude(x)) for n, c, x in groups])
    power, value = ("cycles per pixel", "power"), ("intensity, normalised", "density")
    slope = ("gradient, normalised per pixel", "density")
    return plots(
        [
            Plot(_title("Power spectrum", scores.spectrum), power, spectra, ("log", "log")),
            Plot(_title("Intensity", scores.intensity), value, intensity),
            Plot(_title("Gradient", scores.gradient), slope, gradient),
        ]
    )


def _title(name: str, distance: Distance) -> str:
    return f"{name}: {distance.generated:.3g} from real\n(real from real: {distance.real:.3g})"


def _densities(groups: Sequence[tuple[str, str, np.ndarray]]) -> list[Curve]:
    """Histograms over one range: all but the outermost thousandths of the first group."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.percentile(groups[0][2], (0.1, 99.9)).tolist()
    edges = np.linspace(low, max(high, low + 0.01), 401)
    middle, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    # smoothed by 2 % of the range: real values are whole grey levels, which beat with the bins
    return [
        Curve(n, c, middle, gaussian_filter1d(np.histogram(v, edges)[0] / (v.size * width), 8.0))
        for n, c, v in groups
    ]
