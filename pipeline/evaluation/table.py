"""The comparison as people read it: the paper's Table 1 and Fig. 4, with ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.filesize import decimal

from ddgm.core.methods.method import Method
from ddgm.pipeline.evaluation.comparison_request import ComparisonSettings
from ddgm.pipeline.evaluation.measure import Result
from ddgm.pipeline.evaluation.methods import TABLE_1
from ddgm.pipeline.figures import scatter
from ddgm.pipeline.figures import table as picture_of

HEAD = (
    "method", "settings", "MSE", "SSIM", "residual", "contradicted", "invented",
    "resolution along width, thickness (pixels)", "spectral distance", "network evaluations",
    "gradient evaluations", "s a slice", "memory", "paper: MSE, SSIM",
)  # fmt: skip
PARTS = "contradicted", "invented"


def markdown(
    results: Mapping[str, Result],
    methods: Mapping[str, Method],
    comparison: ComparisonSettings,
    shape: tuple[int, ...],
) -> str:
    """The results as a table, best MSE first, with what they have in common above it."""
    ranked = sorted(results, key=lambda name: results[name].mean("mse")[0])
    rows = [_row(name, methods[name], results[name]) for name in ranked]
    return "\n".join([comparison.described(shape), "", *lines(HEAD, rows)]) + "\n"


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _row(name: str, method: Method, result: Result) -> list[str]:
    scores = ["{:.4f} ± {:.4f}".format(*result.mean(score)) for score in ("mse", "ssim")]
    return [
        method.title,
        method.settings,
        *scores,
        f"{result.mean('residual')[0]:.3f}",
        *(f"{result.mean(k)[0]:.4f}" if result.invented else "" for k in PARTS),
        f"{result.resolution_width:.2f}, {result.resolution_thickness:.2f}",
        f"{result.spectrum:.3f}",
        str(method.chains * method.evaluations),
        "" if method.products is None else str(method.chains * method.products),
        f"{result.seconds:.2f}",
        decimal(result.bytes),
        "{:.2f}, {:.2f}".format(*TABLE_1[name]) if name in TABLE_1 else "",
    ]


def picture(
    images: Mapping[str, np.ndarray], results: Mapping[str, Result], truth: np.ndarray
) -> bytes:
    """The same few slices by every method, best MSE last but the truth, as in Fig. 4."""
    ranked = sorted(results, key=lambda name: -results[name].mean("mse")[0])
    rows = np.stack([*(images[name] for name in ranked), truth])
    labels = [f"{name}\n{results[name].mean('mse')[0]:.4f}" for name in ranked]
    return picture_of(rows[::-1], [*labels, "truth"][::-1], "mean MSE below each name")


def trade(results: Mapping[str, Result]) -> bytes:
    """MSE of each method against the spectral distance of its images from true ones.

    Down is nearer to the truth, left more like tissue: what blurs is low and to the right, and a
    sample of the posterior is higher and to the left.
    """
    points = {name: (r.spectrum, r.mean("mse")[0]) for name, r in results.items()}
    axes = "spectral distance from the truth, decades: left, more real", "MSE: down, nearer"
    return scatter(points, axes)
