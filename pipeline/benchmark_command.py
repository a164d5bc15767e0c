"""`ddgm benchmark`: methods side by side. `cli` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddgm_core.errors import DdgmError
from pipeline.console import console
from pipeline.options import parsed_box, parsed_precision


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(benchmark)


def benchmark(
    url: Annotated[str, typer.Argument(help="a precomputed volume, one not trained on")],
    methods: Annotated[
        str, typer.Option(help="names, with commas between; default: all but dps-1000")
    ] = "",
    patches: Annotated[int, typer.Option(help="slices, as large as the prior's patch")] = 128,
    mip: Annotated[int, typer.Option(help="of the volume")] = 0,
    box: Annotated[
        str | None, typer.Option(metavar="Z:Z,Y:Y,X:X", help="the part of it to draw from")
    ] = None,
    detector: Annotated[str, typer.Option(help="perpendicular, or lateral")] = "perpendicular",
    prior: Annotated[str, typer.Option(help="a shipped prior's name, or its file")] = "small",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16")] = "float32",
    seed: Annotated[int, typer.Option(help="of patches, tilts and samplers")] = 0,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="made if need be")] = Path(
        "benchmark"
    ),
) -> None:
    """Compare reconstruction methods on the same simulated tilts: quality, cost, pictures.

    Writes benchmark.md, benchmark.json and benchmark.png. Goes on where an earlier start of the
    same comparison stopped.

    Example: `ddgm benchmark precomputed://file:///data/em --methods ddgm-50,ddx-20,cgls`
    """
    from pipeline.benchmark.methods import METHODS
    from pipeline.benchmark.run import Request
    from pipeline.benchmark.run import benchmark as compare
    from pipeline.progress import counted

    if detector not in ("perpendicular", "lateral"):
        raise DdgmError(f"--detector: {detector!r} must be perpendicular or lateral")
    request = Request(
        url,
        mip,
        parsed_box(box),
        tuple(methods.split(",")) if methods else tuple(m for m in METHODS if m != "dps-1000"),
        patches,
        "lateral" if detector == "lateral" else "perpendicular",
        prior,
        parsed_precision(precision),
        seed,
    )
    with counted(console, "methods") as progress:
        compare(request, out, progress)
    console.print((out / "benchmark.md").read_text())
    console.print(f"wrote {out}/benchmark.md, benchmark.json and benchmark.png")
