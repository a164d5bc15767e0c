"""The commands about what a run starts from: a volume or a tilt series, and a spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from ddgm.core.errors import DdgmError
from ddgm.pipeline.terminal import console


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(ingest)
    app.command("import")(import_stack)
    app.command()(spec)


def ingest(
    array: Annotated[Path, typer.Argument(help=".npy, TIFF (file or folder), or zarr array")],
    url: Annotated[str, typer.Argument(help="a new precomputed volume, such as file:///data/em")],
    voxel_size: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="Z Y X", help="in nanometres; default: OME-Zarr's"),
    ] = None,
    offset: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="Z Y X", help="first voxel; default: OME-Zarr's, or 0 0 0"),
    ] = None,
    encoding: Annotated[
        Literal["raw", "jpeg"], typer.Option(help="jpeg is smaller, and lossy")
    ] = "raw",
    axes: Annotated[
        str | None, typer.Option(help="order of the array's axes; default: OME-Zarr's, or zyx")
    ] = None,
) -> None:
    """Copy an array into a precomputed volume, to be a spec's source.

    Example: `ddgm ingest em.npy file:///data/em --voxel-size 16 16 16`
    """
    from ddgm.pipeline.progress_bar import Bar
    from ddgm.pipeline.volumes.ingest import ingest as copy

    with Bar(console) as progress:
        task = progress.add_task("bricks", total=None)
        taken = copy(
            array,
            url,
            voxel_size,
            encoding=encoding,
            offset=offset,
            axes=axes,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    console.print(
        f"{array}: axes {taken.axes}, {_words(taken.shape)} voxels (z, y, x) of "
        f"{_words(taken.voxel_size_nm)} nm, the first at {_words(taken.offset)}",
        markup=False,
    )
    console.print(
        f"wrote {url}; name it in a spec as precomputed://{url.removeprefix('precomputed://')}"
    )


def _words(numbers: Sequence[float]) -> str:
    return " ".join(f"{n:.9g}" for n in numbers)


def import_stack(
    stack: Annotated[Path, typer.Argument(metavar="STACK", help="MRC, .npy, TIFF or zarr")],
    angles: Annotated[Path | None, typer.Option(metavar="FILE", help=".tlt or .rawtlt")] = None,
    xf: Annotated[Path | None, typer.Option(metavar="FILE", help="IMOD's alignment")] = None,
    aln: Annotated[Path | None, typer.Option(metavar="FILE", help="AreTomo's alignment")] = None,
    tilt_com: Annotated[
        Path | None, typer.Option(metavar="FILE", help="how IMOD's tilt was run")
    ] = None,
    edf: Annotated[Path | None, typer.Option(metavar="FILE", help="etomo's settings")] = None,
    mdoc: Annotated[Path | None, typer.Option(metavar="FILE", help="SerialEM's notes")] = None,
    axis: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES",
            help="of the tilt axis from the columns, counterclockwise with row 0 at the bottom; 90 "
            "for one along the rows",
        ),
    ] = None,
    exclude: Annotated[
        str, typer.Option(metavar="VIEWS", help="to leave out, counted from 1, as in 1,2,70-77")
    ] = "",
    binning: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=64, help="pixels to a voxel")
    ] = None,
    thickness: Annotated[
        int | None, typer.Option(metavar="N", min=11, help="of the slab, in voxels")
    ] = None,
    voxel_size: Annotated[
        float | None, typer.Option(metavar="NM", help="side of a voxel, after binning")
    ] = None,
    signal: Annotated[
        Literal["linear", "transmitted"] | None,
        typer.Option(help="linear in density, or transmitted intensities, whose -ln is taken"),
    ] = None,
    stain: Annotated[
        Literal["dark", "bright"], typer.Option(help="in the stack: bright in a dark field")
    ] = "dark",
    method: Annotated[str, typer.Option(metavar="NAME", help="that the spec names")] = "ddx",
    out: Annotated[
        Path | None, typer.Option(metavar="SPEC", help="default: beside the stack, by its name")
    ] = None,
) -> None:
    """Make a spec of a measured tilt series, and the table of its views.

    What lies beside the stack is found by its name: .tlt or .rawtlt, .xf or .aln, tilt.com, .edf,
    .mdoc. What was found is printed, and what was assumed; nothing is replaced.

    Examples: `ddgm import TS_01.st`, `ddgm import TS_01.mrc --aln TS_01.aln --binning 4`,
    `ddgm import HAADF.mrc --axis 90 --voxel-size 1 --stain bright --method
    gradient_descent`
    """
    from ddgm.pipeline.importing.beside import Beside
    from ddgm.pipeline.importing.import_series import import_series
    from ddgm.pipeline.importing.request import Request
    from ddgm.pipeline.importing.text_files import numbered_list
    from ddgm.pipeline.progress_bar import counted

    request = Request(
        stack=stack,
        given=Beside(angles, xf, aln, tilt_com, edf, mdoc),
        axis=axis,
        exclude=list(numbered_list(Path("--exclude"), 0, exclude)),
        binning=binning,
        thickness=thickness,
        voxel_size_nm=voxel_size,
        signal=signal,
        stain=stain,
        method=method,
        out=out,
    )
    with counted(console, "views") as progress:
        made = import_series(request, progress)
    for title, lines in (("found", made.found), ("assumed", made.assumed)):
        console.print(f"{title}:")
        for line in lines:
            console.print(f"  {line}")
    console.print(f"wrote {made.table} and {made.spec}; look at what a run would do by")
    console.print(f"  ddgm plan {quote(str(made.spec))}")


def spec(
    path: Annotated[Path | None, typer.Argument(metavar="[SPEC]", help="the spec to check")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema")] = False,
    example: Annotated[bool, typer.Option("--example", help="print an example")] = False,
) -> None:
    """Check a spec and print it, or print the schema or an example.

    Examples: `ddgm spec my.yaml`, `ddgm spec --schema > ddgm.schema.json`
    """
    import json
    from importlib.resources import files

    from ddgm.pipeline.spec.model import Spec
    from ddgm.pipeline.spec.yaml_file import dump_spec, load_spec

    if schema:
        print(json.dumps(Spec.model_json_schema(), indent=2))
    elif example:
        print(files("ddgm.deploy.specs").joinpath("example.yaml").read_text("utf-8"), end="")
    elif path is not None:
        print(dump_spec(load_spec(path)), end="")
    else:
        raise DdgmError("ddgm spec: name a spec, or ask for --schema or --example")
