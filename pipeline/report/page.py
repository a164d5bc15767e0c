"""The report as one HTML page that needs nothing beside it: the data of templates/page.html.j2."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddgm.pipeline.report import figures
from ddgm.pipeline.report.figures import Series
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView, difference_picture, place_of, slice_picture
from ddgm.pipeline.report.trust import trust_section
from ddgm.pipeline.report.volume import volume_section
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.arrays import VOLUME

NBSP = "\u00a0"  # no line ends within a number


def render_page(run: RunData, views: dict[str, SliceView], picture: bytes | None) -> str:
    """Render the page, with the main picture and smaller ones of the other views."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,  # what a run holds is text, never markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "base64": lambda png: b64encode(png).decode(),
        "blocks": lambda count: f"{count} block" if count == 1 else f"{count} blocks",
        "by": _by,
        "g": lambda number: f"{number:g}",
        "mean": _mean,
        "ratio": _ratio,
    }
    total = sum(run.statistics.seconds.values())
    return pages.get_template("page.html.j2").render(
        run=run,
        views=views,
        place=partial(place_of, run),
        picture=picture,
        pictures=_pictures(run, views),
        trust=trust_section(run, views["median"]),
        volume=volume_section(run, views["median"]),
        pace=len(run.columns["mse"]) / total if total else 0.0,
        provenance=_provenance(run),
        spec_text=dump_spec(run.plan.spec),
        layers=_layers(run),
    )


def _pictures(run: RunData, views: dict[str, SliceView]) -> dict[str, bytes | None]:
    """All figures but the main picture and those about trust."""
    c = run.columns
    slabs = np.asarray(run.plan.slabs)[c["block"].astype(int) // run.plan.blocks_per_slab]
    at_noise = run.plan.spec.tilts.noise > 0
    return {
        "difference": difference_picture(run, views["median"]),
        "best": slice_picture(run, views["best"], measured=False),
        "worst": slice_picture(run, views["worst"], measured=False),
        "distributions": figures.distributions(run.series("mse"), run.series("ssim")),
        "positions": figures.positions(c["slice"], slabs, run.series("mse"), run.tilt_axis),
        "residuals": figures.residuals(run.series("residual"), at_noise),
        "timings": figures.timings(run.statistics.seconds_each()),
    }


def _provenance(run: RunData) -> dict[str, str]:
    """Provenance of the run, by name."""
    m, plan = run.manifest, run.plan
    g, tilts, card = plan.geometry, plan.spec.tilts, dict(m["weights"]["card"])
    training = card.pop("training")
    facts = {
        "Source": plan.spec.source.url,
        "Region": f"{plan.region} of mip {plan.info.mip}",
        "Resampled": f"from voxels of {_by(stored)} nm to {_by(plan.info.voxel_size_nm)} nm"
        if (stored := plan.info.stored_size_nm)
        else "",
        "Not covered by slabs": ", ".join(f"{n} voxels of {a}" for a, n in plan.uncovered.items()),
        "Slice": f"{_by((g.thickness, g.width))} pixels, {plan.slices} along {run.tilt_axis}",
        "Pixel": "" if g.aspect == 1 else f"{_by(plan.sides_nm)} nm (along the thickness, across)",
        "Tilts": f"{g.views} views from {tilts.range[0]:g}° to {tilts.range[1]:g}°, "
        f"{g.detector} detector of {g.bins} bins, noise {tilts.noise:g}",
        "Created": m["created"],
        "Digest of spec, code and weights": m["digest"],
        "Digest of code": m["code"],
        "Weights, SHA-256": m["weights"]["sha256"],
        "Prior": _plain(card),
        **{f"Prior, {k}": _plain(v) for k, v in training.items()},
        "Versions": _plain(m["versions"]),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _layers(run: RunData) -> list[tuple[str, str, str, str]]:
    """Each layer's name, array, path and source for neuroglancer."""
    folder, plan = run.store.folder, run.plan
    rows, served = [], folder.root if folder.local_path() is None else "http://HOST:PORT"
    for layer in plan.spec.output.layers:
        at = f"{VOLUME}/{layer}"
        layout = layout_of(plan, layer)
        array = f"{_by(layout.shape)} ({', '.join(layout.dimensions)}), {layout.dtype}"
        source = f"{served.rstrip('/')}/{at}/|zarr3:" if layout.image else ""
        path = folder.local_path(f"{at}/0") or f"{folder.root.rstrip('/')}/{at}/0"
        rows.append((layer, array, str(path), source))
    return rows


def _by(numbers: Iterable[float]) -> str:
    return f"{NBSP}×{NBSP}".join(f"{n:g}" if isinstance(n, float) else str(n) for n in numbers)


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
