"""A training's pictures: arrays and tables in, PNG bytes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddgm.pipeline.figures import FAINT, OURS, Curve, Plot, plots, table

Rows = Sequence[dict[str, float]]

SMOOTH = 20  # rows of the loss that its smooth curve averages
LIGHT = "#86bce0"  # OURS, paler
LABELS = {
    "denoised": ("clean", "σ = 0.3", "denoised", "σ = 1", "denoised", "σ = 3", "denoised"),
    "samples": ("real", "generated"),
    "restored": ("clean", "Tikhonov", "restored"),
}


def curves(losses: Rows, validations: Rows) -> bytes:
    """The loss; the noise error by σ as it was and is; DDGM's error on validation slices."""
    denoises = any(name.startswith("error_") for row in validations for name in row)
    errors = [_errors(validations)] if denoises else []
    line = _reconstruction(validations, "DDGM" if denoises else "restored")
    return plots([_loss(losses), *errors, line])


def picture(name: str, images: np.ndarray, step: int) -> bytes:
    """A validation picture: (rows, columns, height, width) images."""
    return table(images, LABELS[name], f"after {step:,} updates")


def _loss(rows: Rows) -> Plot:
    x, y = _column(rows, "step"), _column(rows, "loss")
    lines = [Curve("each 10 updates", FAINT, x, y)]
    if len(y) >= 2 * SMOOTH:
        smooth = np.convolve(y, np.ones(SMOOTH) / SMOOTH, "valid")
        lines.append(Curve(f"mean of {SMOOTH * 10}", OURS, x[SMOOTH - 1 :], smooth))
    return Plot("Loss", ("update", "loss"), lines, ("linear", "log"))


def _errors(rows: Rows) -> Plot:
    """The latest errors over σ, with the first and a middle one paler."""
    chosen = sorted({0, len(rows) // 4, len(rows) - 1} & set(range(len(rows))))
    shades = (FAINT, LIGHT, OURS)[-len(chosen) :]
    lines = []
    for i, shade in zip(chosen, shades, strict=True):
        errors = {float(k[6:]): v for k, v in rows[i].items() if k.startswith("error_")}
        sigma, error = np.array(list(errors)), np.array(list(errors.values()))
        lines.append(Curve(f"after {rows[i]['step']:,.0f}", shade, sigma, error))
    return Plot("Noise error, validation", ("σ", "‖ε − ε̂‖² per pixel"), lines, ("log", "log"))


def _reconstruction(rows: Rows, what: str) -> Plot:
    scored = [row for row in rows if "ratio" in row]
    line = Curve(what, OURS, _column(scored, "step"), _column(scored, "ratio"))
    return Plot(f"MSE over gradient descent's: {what}", ("update", "ratio"), [line])


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])
