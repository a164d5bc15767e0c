"""The commands about what a run starts from: a volume, and a spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from ddgm.core.errors import DdgmError
from ddgm.pipeline.terminal import console


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(ingest)
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
