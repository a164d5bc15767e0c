"""Lines of a plan on its source and its views."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ddgm.core.networks.prior import read_card
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.opened import source_info
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.terminal import Row
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import SourceError, VolumeInfo


def info_or_assumed(spec: Spec, console: Console) -> tuple[VolumeInfo, bool]:
    """Metadata of the volume; where it does not answer, as the spec implies them, and False."""
    try:
        with console.status("asking the source"):
            return source_info(spec), True
    except SourceError as error:
        box = spec.source.box
        if (
            error.kind not in ("unreachable", "credentials")
            or box is None
            or spec.source.is_measured
        ):
            raise
        console.print("the source does not answer; assuming uint8, chunks of 64³, box in bounds")
        start, stop = (tuple(box[a][end] for a in ("z", "y", "x")) for end in (0, 1))
        side = read_card(spec.prior.weights).voxel_size_nm
        bounds = Box(start, stop)  # type: ignore[arg-type]
        size = spec.source.size_nm or (side, side, side)
        return VolumeInfo(bounds, size, "uint8", (64, 64, 64), 1, spec.source.mip), False


def source_row(plan: Plan, answered: bool) -> Row:
    """Line on what is imaged."""
    source, mip = plan.spec.source, plan.info.mip
    facts: dict[str, Any] = {"source": source.place, "mip": mip, "source_answers": answered}
    if source.is_measured:
        facts |= {"views_table": source.views, "binning": source.binning, "signal": source.signal}
        binned = f", binned {source.binning} x" if source.binning > 1 else ""
        return Row("source", f"{source.place}, {source.signal}{binned}; {source.views}", facts)
    return Row("source", f"{source.place}, mip {mip}", facts)


def views_row(plan: Plan) -> Row:
    """Line on the views: how many, with which detector, and where they are from."""
    g, tilts = plan.geometry, plan.spec.tilts
    made = tilts.simulate.described if tilts.simulate else None
    out = len(plan.held_out)
    facts: dict[str, Any] = {"views": g.views, "bins": g.bins, "detector": g.detector}
    facts |= {"simulated_with": made, "held_out_views": out}
    text = f"{g.views}, {g.bins} bins, {g.detector} detector"
    if plan.info.views is not None:
        angles, noise = zip(*plan.info.views, strict=True)
        text += f", measured from {min(angles):g} to {max(angles):g}°"
        text += f", noise {min(noise):.3g} to {max(noise):.3g}"
        facts |= {"angles_degrees": angles, "noise": noise}
    text += f", {out} of them held out" if out else ""
    text += f", simulated with {made}" if made else ""
    return Row("views", text, facts)
