"""The report as one HTML page that needs nothing beside it: the data of templates/page.html.j2."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddgm.pipeline.report import figures, pictures
from ddgm.pipeline.report.bodies import bodies_section
from ddgm.pipeline.report.costs import cost_rows
from ddgm.pipeline.report.figures import Plot, Series, ranges
from ddgm.pipeline.report.gallery import Gallery, number
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView, place_of
from ddgm.pipeline.report.trust.section import trust_section
from ddgm.pipeline.report.volume import volume_section
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.arrays import VOLUME

NBSP = "\u00a0"  # no line ends within a number
DASHED = "Dashed: means."
ALONG = "MSE along the tilt axis; gaps are slices that are not done."
NOISY = (
    "About 1: the slice explains its views to their noise. Above, it contradicts what was "
    "measured; below, it fits noise. A residual of 1 does not make a slice right: the views leave "
    "much open, and the prior fills it."
)
NOISELESS = "The views have no noise, so this is the plain mean square of Ax − y."


def render_page(run: RunData, views: dict[str, SliceView], fit: tuple[str, bool]) -> str:
    """Render the page, with pictures of some slices, and what `prior_fit` says."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,  # what a run holds is text, never markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "base64": lambda png: b64encode(png).decode(),
        "blocks": lambda count: f"{count:,}{NBSP}block{'' if count == 1 else 's'}",
        "by": _by,
        "count": lambda count: f"{count:,}",
        "g": number,
        "mean": _mean,
        "percent": lambda share: f"{100 * share:.4g}%",
        "ratio": _ratio,
    }
    total = sum(run.statistics.seconds.values())
    folder = run.store.folder
    return pages.get_template("page.html.j2").render(
        run=run,
        place=partial(place_of, run),
        views=views,
        degrees=_ends(run.plan),
        galleries=_galleries(run, views),
        plots=_plots(run),
        bodies=bodies_section(run),
        fit=fit,
        trust=trust_section(run, views["median"]),
        volume=volume_section(run, views["median"]),
        seconds=run.statistics.seconds_each(),
        costs=cost_rows(run),
        pace=len(run.columns["slice"]) / total if total else 0.0,
        provenance=_provenance(run),
        spec_text=dump_spec(run.plan.spec),
        layers=_layers(run),
        root=quote(str(folder.local_path() or folder.root)),
    )


def _galleries(run: RunData, views: dict[str, SliceView]) -> dict[str, list[Gallery]]:
    """The pictures of each slice that is shown, the median first."""
    row = views["median"].row
    shown = {name: view for name, view in views.items() if name == "median" or view.row != row}
    found = {}
    for name in ("median", "worst", "best"):
        if (view := shown.get(name)) is not None:
            series = None if name == "best" else pictures.tilt_series(run, view)
            wrong = pictures.differences(run, view) if name == "median" else None
            kept = pictures.layers(run, view, name)
            found[name] = [g for g in (series, kept, wrong) if g is not None]
    return found


def _plots(run: RunData) -> list[Plot]:
    """Metrics over slices."""
    c, noisy = run.columns, run.plan.spec.tilts.noise > 0
    slabs = np.asarray(run.plan.slabs)[c["block"].astype(int) // run.plan.blocks_per_slab]
    residual = run.series("residual")
    label = "data residual, in units of the noise" if noisy else "mean square residual"
    if run.plan.is_measured:
        return [*_measured_plots(run, slabs), _residuals(residual, label, noisy)]
    mse, ssim = run.series("mse"), run.series("ssim")
    along = figures.positions(c["slice"], slabs, mse, run.tilt_axis)
    first, last = (number(float(c["slice"][k])) for k in (c["slice"].argmin(), c["slice"].argmax()))
    return [
        Plot(
            figures.histogram(mse, "MSE, lower is better"),
            "MSE of the slices. " + DASHED,
            ranges(mse),
        ),
        Plot(
            figures.histogram(ssim, "SSIM, higher is better"),
            "SSIM of the slices. " + DASHED,
            ranges(ssim),
        ),
        Plot(along, ALONG, f"From slice {first} to slice {last}; {ranges(mse)}"),
        _residuals(residual, label, noisy),
    ]


def _residuals(residual: list[Series], label: str, noisy: bool) -> Plot:
    picture = figures.histogram(residual, label, noisy)
    return Plot(picture, NOISY if noisy else NOISELESS, ranges(residual))


def _measured_plots(run: RunData, slabs: np.ndarray) -> list[Plot]:
    """Scores of a measured series: along the tilt axis, and of the views that were held out."""
    name = "held_out" if run.series("held_out") else "residual"
    shown, what = run.series(name), "Held-out views" if name == "held_out" else "Data residual"
    along = figures.positions(run.columns["slice"], slabs, shown, run.tilt_axis, what)
    caption = f"{what} along the tilt axis, in units of the noise; gaps are slices not done."
    return [Plot(along, caption, ranges(shown))]


def _provenance(run: RunData) -> dict[str, str]:
    """Provenance of the run, by name."""
    m, plan = run.manifest, run.plan
    g, tilts, card = plan.geometry, plan.spec.tilts, dict(m["weights"]["card"])
    training = card.pop("training")
    facts = {
        "Source": plan.spec.source.place,
        "Region": f"{plan.region} of mip {plan.info.mip}",
        "Resampled": f"from voxels of {_by(stored)} nm to {_by(plan.info.voxel_size_nm)} nm"
        if (stored := plan.info.stored_size_nm)
        else "",
        "Not covered by slabs": ", ".join(f"{n} voxels of {a}" for a, n in plan.uncovered.items()),
        "Slice": f"{_by((g.thickness, g.width))} pixels, {plan.slices} along {run.tilt_axis}",
        "Pixel": "" if g.aspect == 1 else f"{_by(plan.sides_nm)} nm (along the thickness, across)",
        "Tilts": _tilts(plan),
        "Table of views": plan.spec.source.views or "",
        "Import": "; ".join(m.get("remarks", ())),
        "Gains": _range([v["gain"] for v in m.get("views", {}).values() if v["use"]]),
        "Offsets": _range([v["offset"] for v in m.get("views", {}).values() if v["use"]]),
        "Held out": f"{len(plan.held_out)} views" if plan.held_out else "",
        "Simulated with": tilts.simulate.described if tilts.simulate else "",
        "Created": m["created"],
        "Digest of spec, code and weights": m["digest"],
        "Digest of code": m["code"],
        "Weights, SHA-256": m["weights"]["sha256"],
        "Prior": _plain(card),
        **{f"Prior, {k}": _plain(v) for k, v in training.items()},
        "Versions": _plain(m["versions"]),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _tilts(plan: Plan) -> str:
    """The views, and their noise, in words."""
    g, tilts = plan.geometry, plan.spec.tilts
    if plan.info.views is None:
        first, last = tilts.range
        return (
            f"{g.views} views from {first:g}° to {last:g}°, {g.detector} detector of {g.bins} "
            f"bins, noise {tilts.noise:g}"
        )
    angles, noise = zip(*plan.info.views, strict=True)
    return (
        f"{g.views} measured views from {min(angles):g}° to {max(angles):g}°, noise {_range(noise)}"
    )


def _ends(plan: Plan) -> tuple[float, float]:
    """The least and the greatest angle of the views, in degrees."""
    angles = [angle for angle, _ in plan.info.views or ()] or plan.spec.tilts.range
    return min(angles), max(angles)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.4g} to {max(values):.4g}" if values else ""


def _layers(run: RunData) -> list[tuple[str, str, str]]:
    """Each layer's name, array and path."""
    folder, rows = run.store.folder, []
    for layer in run.plan.spec.output.layers:
        layout, at = layout_of(run.plan, layer), f"{VOLUME}/{layer}/0"
        array = f"{_by(layout.shape)} ({', '.join(layout.dimensions)}), {layout.dtype}"
        rows.append((layer, array, str(folder.local_path(at) or f"{folder.root.rstrip('/')}/{at}")))
    return rows


def _by(numbers: Iterable[float]) -> str:
    return f"{NBSP}×{NBSP}".join(f"{n:g}" if isinstance(n, float) else f"{n:,}" for n in numbers)


def _mean(values: np.ndarray) -> str:
    """Mean ± standard error of the finite values."""
    v = values[np.isfinite(values)]
    if len(v) < 2:
        return f"{v[0]:.4f}" if len(v) else "none"
    return f"{v.mean():.4f}{NBSP}±{NBSP}{v.std(ddof=1) / len(v) ** 0.5:.4f}"


def _ratio(series: Sequence[Series]) -> float | None:
    """The method's mean over the algebraic reconstruction's, where both are there."""
    means = [v.mean() for s in series if len(v := s.values[np.isfinite(s.values)])]
    return float(means[0] / means[1]) if len(means) == 2 and means[1] else None


def _plain(value: Any) -> str:
    """JSON's values in readable form."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
