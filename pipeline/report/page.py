"""The report as one HTML page that needs nothing beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from ddgm.pipeline.report import figures
from ddgm.pipeline.report.figures import Series
from ddgm.pipeline.report.run_data import SHOWN, RunData
from ddgm.pipeline.report.slices import SliceView, difference_picture, place_of, slice_picture
from ddgm.pipeline.report.trust import trust_section
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.run_store import VOLUME

WARNING = (
    "Reconstructions usually look very realistic, even where they are wrong. The network can "
    "invent structures that are not in the tissue and remove ones that are. Do not derive "
    "biology from these images without validating them against other data."
)
STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--faint:#57606a;--line:#d0d7de;--page:#fff;
--card:#f6f8fa;--warn:#fff4d6;--edge:#d9a400}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9aa4af;--line:#30363d;
--page:#0d1117;--card:#161b22;--warn:#33290a;--edge:#bf8f00}figure div{filter:brightness(.88)}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:1160px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:1.55rem;line-height:1.25;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.4rem 0 .7rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
p,li{max-width:78ch;overflow-wrap:anywhere}.lead{font-size:1.08rem}.faint,figcaption,th{color:var(--faint)}
.warn{background:var(--warn);border-left:4px solid var(--edge);padding:.7rem 1rem;margin:1.1rem 0}
figure{margin:1rem 0}figure img{display:block;max-width:100%;margin:0 auto}
figure div{background:#fff;border:1px solid var(--line);border-radius:6px;padding:10px}
figcaption{font-size:.9rem;margin-top:.4rem;max-width:95ch}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:0 20px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6rem 0}
td,th{text-align:left;vertical-align:top;padding:.3rem 1.4rem .3rem 0;
border-bottom:1px solid var(--line);font-weight:400;overflow-wrap:anywhere}
.scroll td:first-child{white-space:nowrap}
.scroll{overflow-x:auto}code,pre{font:13px/1.5 ui-monospace,monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:9px;overflow:auto}
"""


def render_page(run: RunData, views: dict[str, SliceView], picture: bytes | None) -> str:
    """The page, with the main picture and smaller ones of the other views."""
    title = f"{run.method} reconstruction of {run.plan.spec.source.url}"
    body = "".join((
        f"<h1>{escape(title)}</h1>", _headline(run), _pictures(run, views, picture),
        _trust(run, views["median"]), _distributions(run), _timings(run), _failures(run),
        _provenance(run), _look(run),
    ))  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _headline(run: RunData) -> str:
    plan, done, failed = run.plan, run.states["done"], run.states["failed"]
    g, tilts, nm = plan.geometry, plan.spec.tilts, plan.info.voxel_size_nm
    card = run.manifest["weights"]["card"]["voxel_size_nm"]
    facts, doubts = [
        f"{len(run.columns['mse'])} of {plan.slice_count} slices ({g.thickness} × {g.width} "
        f"pixels of {nm[plan.axes[2]]:g} nm), each from {g.views} simulated views between "
        f"{tilts.range[0]:g}° and {tilts.range[1]:g}°. {_blocks(done)} done, {failed} failed."
    ], [WARNING]  # fmt: skip
    if (ratio := _ratio(series := run.series("mse"))) is not None:
        facts.append(
            f"By MSE it is {'better' if ratio < 1 else 'no better'} than the algebraic "
            f"reconstruction: {_mean(series[0].values)} against {_mean(series[1].values)}, "
            f"{ratio:.2f} times as much."
        )
    if run.missing_voxels:
        facts.append(
            f"{run.missing_voxels} source voxels were missing and filled with grey level "
            f"{plan.spec.source.missing}."
        )
    if done < plan.block_count:
        doubts.append(
            f"This run is not complete: of {_blocks(plan.block_count)} {failed} failed and "
            f"{plan.block_count - done - failed} have not been run. All figures are of the rest."
        )
    if any(abs(nm[a] / card - 1) > 0.01 for a in plan.axes[1:]):
        sizes = " × ".join(f"{nm[a]:g}" for a in plan.axes[1:])
        doubts.append(
            f"The prior was trained at {card:g} nm; to it, tissue looks different at {sizes} nm."
        )
    return _paragraphs(facts, "lead") + _scores(run) + _paragraphs(doubts, "warn")


def _scores(run: RunData) -> str:
    """The table of means and their standard errors."""
    metrics = {
        "mse": "MSE, normalised units",
        "ssim": "SSIM",
        "residual": "Data residual" if run.plan.spec.tilts.noise else "Mean square residual",
        "seam": "Seams at tile borders, 1: none",
    }
    present = {k: s for k in metrics if (s := run.series(k))}
    names = [s.name for s in present["mse"]]
    rows = [
        [
            metrics[k],
            *(_mean(s.values) for s in series),
            "" if (r := _ratio(series)) is None else f"{r:.3f}",
        ]
        for k, series in present.items()
    ]
    note = (
        "Mean ± standard error over slices. Neighbouring slices look alike, so the true "
        "uncertainty is larger. MSE is of (grey − mean) / standard deviation."
    )
    head = ["", *names, "ratio" if len(names) > 1 else ""]
    return _table(head, rows) + f'<p class="faint">{note}</p>'


def _pictures(run: RunData, views: dict[str, SliceView], picture: bytes | None) -> str:
    middle = views["median"]
    caption = f"The slice of median MSE, {place_of(run, middle)}; all in the same shades of grey."
    if "sinogram" in middle.layers and run.plan.geometry.bins > run.plan.geometry.width:
        caption += " The dashed lines in the tilt series are the slice's edges."
    parts = [
        _figure(picture, caption),
        _figure(difference_picture(run, middle), "Where the same slice is wrong, and how much."),
        _paragraphs(middle.problems),
    ]
    beside = ""
    for name in ("best", "worst"):
        if (view := views[name]).row != middle.row:
            png = slice_picture(run, view, measured=False)
            beside += f"<div>{_figure(png, f'The {name} slice by MSE, {place_of(run, view)}.')}"
            beside += f"{_paragraphs(view.problems)}</div>"
    g = run.plan.geometry  # wide slices are not legible at half the page's width
    grid = "two" if g.width < 4 * g.thickness else ""
    parts.append(f'<div class="{grid}">{beside}</div>')
    return "<h2>What it looks like</h2>" + "".join(parts)


def _trust(run: RunData, view: SliceView) -> str:
    text, shown = trust_section(run, view)
    body = _paragraphs(text, "") + "".join(_figure(png, caption) for png, caption in shown)
    return f"<h2>What can be trusted</h2>{body}" if body else ""


def _distributions(run: RunData) -> str:
    c, at_noise = run.columns, run.plan.spec.tilts.noise > 0
    slabs = np.asarray(run.plan.slabs)[c["block"].astype(int) // run.plan.blocks_per_slab]
    along = figures.positions(c["slice"], slabs, run.series("mse"), run.tilt_axis)
    explained = (
        "About 1: the slice explains its views to their noise. Above, it contradicts what was "
        "measured; below, it fits noise. A residual of 1 does not make a slice right: the views "
        "leave much open, and the prior fills it."
        if at_noise
        else "The views have no noise, so this is the plain mean square of Ax − y."
    )
    return "<h2>Over all slices</h2>" + "".join((
        _figure(figures.distributions(run.series("mse"), run.series("ssim")), "Dashed: means."),
        _figure(along, "MSE along the tilt axis; gaps are slices that are not done."),
        _figure(figures.residuals(run.series("residual"), at_noise), explained),
    ))  # fmt: skip


def _timings(run: RunData) -> str:
    done, total = run.states["done"], sum(run.seconds.values())
    mean = {stage: s / done for stage, s in run.seconds.items()}
    each = len(run.columns["mse"]) / total if total else 0.0
    text = (
        f"{each:.3g} slices per second and worker process; {each * len(run.workers):.3g} with all "
        f"{len(run.workers)} at work. {_blocks(run.retried)} needed more than one attempt."
    )
    return f"<h2>Time</h2><p>{text}</p>" + _figure(figures.timings(mean), "")


def _failures(run: RunData) -> str:
    count = run.states["failed"]
    if not count:
        return ""
    rows = [
        [str(r.block), str(r.attempts), r.cause, f"ddgm block SPEC --id {r.block}"]
        for r in run.failed
    ]
    more = f"<p>And {count - SHOWN} more, see the ledger.</p>" if count > SHOWN else ""
    return (
        f"<h2>{_blocks(count)} failed</h2><p>The command runs the block alone, with SPEC the spec "
        "of this run (below). Running the whole spec again tries all of them again.</p>"
        + _table(["block", "attempts", "cause", "alone"], rows)
        + more
    )


def _provenance(run: RunData) -> str:
    m, plan = run.manifest, run.plan
    g, tilts, card = plan.geometry, plan.spec.tilts, dict(m["weights"]["card"])
    training = card.pop("training")
    facts = {
        "Source": plan.spec.source.url,
        "Region": f"{plan.region} of mip {plan.info.mip}",
        "Not covered by slabs": ", ".join(f"{n} voxels of {a}" for a, n in plan.uncovered.items()),
        "Slice": f"{g.thickness} × {g.width} pixels, {plan.slices} along {run.tilt_axis}",
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
    rows = [[k, v] for k, v in facts.items() if v]
    spec = escape(dump_spec(plan.spec))
    return f"<h2>Where it came from</h2>{_table(['', ''], rows)}<h3>Spec</h3><pre>{spec}</pre>"


def _look(run: RunData) -> str:
    folder, plan = run.store.folder, run.plan
    rows, served = [], folder.root if folder.local_path() is None else "http://HOST:PORT"
    for layer in plan.spec.output.layers:
        at = f"{VOLUME}/{layer}"
        kind = plan.spec.output.dtype_of(layer)
        axes = "slab, slice, view, bin" if layer == "sinogram" else "z, y, x"
        shape = " × ".join(str(n) for n in plan.layer_shape(layer))
        source = "" if layer == "sinogram" else f"{served.rstrip('/')}/{at}/|zarr3:"
        path = folder.local_path(f"{at}/0") or f"{folder.root.rstrip('/')}/{at}/0"
        rows.append([layer, f"{shape} ({axes}), {kind}", path, source])
    text = (
        "Each layer is a zarr 3 array (OME-Zarr 0.5): zarr.open_array(path, mode='r') in Python. "
        "In neuroglancer, give the source below; older versions want zarr3:// before the URL. A "
        "folder on a disk must first be served over HTTP with CORS allowed. Per-slice metrics "
        "are in the ledger, and in metrics.parquet once the run has ended."
    )
    return f"<h2>How to look at it</h2><p>{text}</p>" + _table(
        ["layer", "array", "path", "neuroglancer source"], rows
    )


# Pieces of the page: all data is escaped here, or where it is put into text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    lines = [line("th", head)] if any(head) else []
    lines += [line("td", r) for r in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _figure(png: bytes | None, caption: str) -> str:
    if png is None:
        return ""
    data, text = b64encode(png).decode(), escape(caption)
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f"<figure><div>{image}</div><figcaption>{text}</figcaption></figure>"


def _paragraphs(facts: Iterable[str], style: str = "faint") -> str:
    return "".join(f'<p class="{style}">{escape(f)}</p>' for f in facts)


def _mean(values: np.ndarray) -> str:
    """Mean ± standard error of the finite values."""
    v = values[np.isfinite(values)]
    if len(v) < 2:
        return f"{v[0]:.4f}" if len(v) else "none"
    return f"{v.mean():.4f}\u00a0±\u00a0{v.std(ddof=1) / len(v) ** 0.5:.4f}"  # never broken


def _ratio(series: Sequence[Series]) -> float | None:
    """The method's mean over the algebraic reconstruction's, where both are there."""
    means = [v.mean() for s in series if len(v := s.values[np.isfinite(s.values)])]
    return float(means[0] / means[1]) if len(means) == 2 and means[1] else None


def _plain(value: Any) -> str:
    """What JSON holds, as a reader likes it."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _blocks(count: int) -> str:
    return f"{count} block" if count == 1 else f"{count} blocks"
