"""The commands about a run's folder: whether it is whole, a page about it, a copy of a layer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddgm.core.errors import DdgmError
from ddgm.pipeline.cli.options import AsJson, Format, OtherVersions, Run, parsed_box
from ddgm.pipeline.terminal import console, plural, print_json, silent

if TYPE_CHECKING:
    from ddgm.pipeline.run.verify import Found


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (verify, repair, pyramid, report, export):
        app.command()(command)


def verify(run: Run, as_json: AsJson = False) -> None:
    """Compare the whole output with the ledger's checksums.

    Example: `ddgm verify runs/hemibrain --json`
    """
    from ddgm.pipeline.run.verify import verify_run

    shown = silent if as_json else console
    found = verify_run(run, shown)
    for problem in found.problems:
        shown.print(problem)
    facts = {"run": run, **asdict(found)}
    if (error := _as_error(run, found)) is not None:
        error.facts = facts
        raise error
    if as_json:
        print_json(facts)
    coarser = f" and {plural(found.shards, 'shard')} of coarser levels" if found.shards else ""
    shown.print(f"as the ledger says: {plural(found.blocks, 'block')}{coarser}")
    if found.copies:
        copies = plural(found.copies, "file")
        shown.print(f"as volume.zarr has it: {copies} of the precomputed copy")


def _as_error(run: str, found: Found) -> DdgmError | None:
    """What `verify` found as an error; None where all is as it should be."""
    if not found.problems:
        return None
    wrong, remedies = [], []
    if found.metadata:
        wrong.append(f"{plural(len(found.metadata), 'file')} of metadata")
    if blocks := len(found.damaged) + found.missing:
        wrong.append(f"{blocks} of {found.blocks} blocks")
    if shards := len(found.wrong_shards):
        wrong.append(f"{shards} of {found.shards} shards of coarser levels")
    if copies := len(found.wrong_copies):
        wrong.append(f"{copies} of {found.copies} files of the precomputed copy")
    if mended := len(found.damaged) + shards + copies or len(found.metadata):
        what = "the metadata" if found.metadata else str(mended)
        remedies.append(f"mend {what} with `ddgm repair {run}`")
    if found.missing:
        remedies.append("run the spec again to do what is not done")
    return DdgmError(
        f"{run}: {' and '.join(wrong)} are not as they should be; {', '.join(remedies)}",
        "damage" if mended else "blocks",
    )


def repair(run: Run, other_versions: OtherVersions = False) -> None:
    """Mend what `ddgm verify` finds: metadata, damaged blocks and coarser levels.

    Example: `ddgm repair runs/hemibrain`
    """
    from ddgm.pipeline.cli.shown.progress import RunProgress
    from ddgm.pipeline.run.verify import repair_run

    with RunProgress(console) as progress:
        found = repair_run(run, console, progress, other_versions)
    if found.failures:
        raise DdgmError(
            f"{run}: failed again: {plural(found.failures, 'damaged block')}; see `ddgm status`",
            "blocks",
        )
    shards = plural(found.shards, "shard")
    coarser = f", {shards} of coarser levels made again" if found.shards else ""
    files = plural(found.copies, "file")
    copies = f", {files} of the precomputed copy" if found.copies else ""
    console.print(f"{plural(found.done, 'block')} mended{coarser}{copies}")
    if found.missing:
        raise DdgmError(
            f"{run}: not done: {plural(found.missing, 'block')}, which `ddgm repair` leaves; run "
            "the spec again to do the rest",
            "blocks",
        )


def pyramid(run: Run) -> None:
    """Make the coarser levels of a run's images, where there are none or some are not there.

    A run makes them itself as its blocks finish; runs of older versions have none.

    Example: `ddgm pyramid runs/hemibrain`
    """
    from ddgm.pipeline.store.levels.adding import add_levels

    count = add_levels(run, console)
    console.print(f"each image has {plural(count, 'coarser level')}")


def report(run: Run) -> None:
    """Write a run's page: pictures, metrics, timings, provenance.

    Example: `ddgm report runs/hemibrain`
    """
    from ddgm.pipeline.report.write import write_report

    for name in write_report(run, console.print):
        console.print(f"wrote {run.rstrip('/')}/{name}")


def export(
    run: Run,
    layer: Annotated[str, typer.Option(metavar="LAYER", help="an image of it")] = "reconstruction",
    form: Annotated[
        Format | None,
        typer.Option("--format", help="default: by the file's ending"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="default: LAYER.FORMAT where you are")
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="Z:Z,Y:Y,X:X", help="the part of it, in voxels of the source"),
    ] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="write 0 where no block is done")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace FILE")] = False,
) -> None:
    """Copy a layer of a run, or a box of it, into one file: MRC, OME-TIFF, NRRD or npy.

    Its axes are z, y, x; all but npy hold the voxel size and the centre of the first voxel.

    Example: `ddgm export runs/hemibrain --output hemibrain.mrc --box 0:128,0:512,0:512`
    """
    from ddgm.pipeline.export.export import export_layer, target
    from ddgm.pipeline.progress_bar import counted

    kind, path = target(layer, form, output)
    part = parsed_box(box)
    with counted(console, "blocks") as progress:
        image = export_layer(
            run,
            layer,
            kind,
            path,
            part,
            incomplete=incomplete,
            overwrite=overwrite,
            progress=progress,
        )
    shape, size, centre = (
        " ".join(f"{n:.9g}" for n in numbers)
        for numbers in (image.shape, image.size_nm, image.centre_nm)
    )
    console.print(
        f"wrote {path}: {shape} voxels (z, y, x) of {size} nm, the centre of the first at "
        f"{centre} nm"
    )
