"""The command line: parses, calls, prints."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddgm_core.errors import DdgmError
from deploy.slurm import commands as slurm_commands
from pipeline import benchmark_command, prior_commands
from pipeline.console import console

if TYPE_CHECKING:
    from pipeline.runner import Summary
    from pipeline.spec import Spec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Reconstruct tilt series at volume scale with a denoising prior (DDGM).\n\n"
    "Start with `ddgm demo`, then write a spec (`ddgm spec --example`), look at what it will "
    "cost (`ddgm plan SPEC`) and run it (`ddgm run SPEC`).",
)


class Stopped(DdgmError):
    """Ctrl-C."""


SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="a pipeline spec (YAML)")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="a run's folder: a spec's output.path")]


@app.callback()
def settings(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="show logs")] = False,
) -> None:
    level = logging.INFO if verbose else logging.CRITICAL
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:  # Dask sets levels of its own on its loggers
        handler.setLevel(level)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="where everything goes; made anew")] = Path("demo"),
) -> None:
    """Make a sample volume, reconstruct it through the whole pipeline, and show the result.

    Example: `ddgm demo --folder /tmp/demo`
    """
    from pipeline.demo import make_demo

    with console.status("making a volume of procedural neuropil"):
        spec = make_demo(folder)
    console.print(f"volume and spec: {folder}/volume, {spec}")
    _finish(_run(_load(spec), overwrite=False), spec, str(folder / "run"))


@app.command()
def plan(
    spec: SpecPath,
    calibrate: Annotated[bool, typer.Option(help="time the network and the data step")] = True,
) -> None:
    """Say what a run would do and cost, without running it.

    Works where the source cannot be reached, too, from the spec's box alone.

    Example: `ddgm plan deploy/specs/hemibrain.yaml --no-calibrate`
    """
    from pipeline.summary import plan_table

    console.print(plan_table(_load(spec), calibrate, console))


@app.command()
def run(
    spec: SpecPath,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="delete what an earlier run left in output.path")
    ] = False,
    block: Annotated[
        int | None, typer.Option(help="run this block alone, in this process, to see why it fails")
    ] = None,
) -> None:
    """Run a spec, or go on where an earlier start of it stopped.

    Examples: `ddgm run my.yaml`, `ddgm run my.yaml --block 12`
    """
    loaded = _load(spec)
    if block is not None and overwrite:
        raise DdgmError("--overwrite: one block alone cannot replace a run; leave out --block")
    if block is None:
        _finish(_run(loaded, overwrite), spec, loaded.output.path)
        return
    from pipeline.runner import run_alone

    with console.status(f"block {block}"):
        record = run_alone(loaded, block)
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in record.seconds.items())
    console.print(f"block {block} is done: {seconds}")


@app.command()
def status(run: Run) -> None:
    """Show how far a run is, from any machine that sees its folder.

    Example: `ddgm status runs/hemibrain`
    """
    from deploy.slurm.status import slurm_lines
    from pipeline.summary import status_table

    console.print(status_table(run))
    for line in slurm_lines(run):
        console.print(f"SLURM {line}")


@app.command()
def verify(
    run: Run,
    repair: Annotated[
        bool, typer.Option("--repair", help="have the next `ddgm run` do the bad blocks again")
    ] = False,
) -> None:
    """Read the whole output again and compare it with the ledger's checksums.

    Example: `ddgm verify runs/hemibrain --repair`
    """
    from pipeline.verify import verify_run

    problems, blocks = verify_run(run, repair, console)
    for problem in problems:
        console.print(problem)
    if problems:
        remedy = "run the spec again to mend them" if repair else "mend them with --repair"
        raise DdgmError(
            f"{run}: {len(problems)} of {blocks} blocks are not as they should be; {remedy}"
        )
    console.print(f"{blocks} blocks are as the ledger says")


@app.command()
def report(run: Run) -> None:
    """Write a run's page: pictures, metrics, timings, provenance.

    Example: `ddgm report runs/hemibrain`
    """
    from pipeline.report import write_report

    for name in write_report(run):
        console.print(f"wrote {run.rstrip('/')}/{name}")


@app.command()
def ingest(
    array: Annotated[Path, typer.Argument(help=".npy, TIFF (file or folder), or zarr array")],
    url: Annotated[str, typer.Argument(help="a new precomputed volume, such as file:///data/em")],
    voxel_size: Annotated[
        tuple[float, float, float], typer.Option(metavar="Z Y X", help="in nanometres")
    ],
    offset: Annotated[
        tuple[int, int, int], typer.Option(metavar="Z Y X", help="of the first voxel")
    ] = (0, 0, 0),
    encoding: Annotated[str, typer.Option(help="raw, or jpeg (smaller, and lossy)")] = "raw",
    axes: Annotated[str, typer.Option(help="order of the array's axes")] = "zyx",
) -> None:
    """Copy an array into a precomputed volume that a spec can name as its source.

    Example: `ddgm ingest em.npy file:///data/em --voxel-size 16 16 16`
    """
    from pipeline.ingest import ingest as copy
    from pipeline.progress import bar

    if encoding not in ("raw", "jpeg"):
        raise DdgmError(f"--encoding: {encoding!r} must be raw or jpeg")
    with bar(console) as progress:
        task = progress.add_task("bricks", total=None)
        copy(
            array,
            url,
            voxel_size,
            encoding="jpeg" if encoding == "jpeg" else "raw",
            offset=offset,
            axes=axes,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    console.print(
        f"wrote {url}; name it in a spec as precomputed://{url.removeprefix('precomputed://')}"
    )


@app.command()
def spec(
    path: Annotated[Path | None, typer.Argument(metavar="[SPEC]", help="check this one")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema")] = False,
    example: Annotated[bool, typer.Option("--example", help="print one to start from")] = False,
) -> None:
    """Check a spec and print it with all defaults, or print the schema or an example.

    Examples: `ddgm spec my.yaml`, `ddgm spec --schema > ddgm.schema.json`
    """
    import json
    from importlib.resources import files

    from pipeline.spec import Spec
    from pipeline.spec_file import dump_spec

    if schema:
        print(json.dumps(Spec.model_json_schema(), indent=2))
    elif example:
        print(files("deploy.specs").joinpath("example.yaml").read_text(), end="")
    elif path is not None:
        print(dump_spec(_load(path)), end="")
    else:
        raise DdgmError("ddgm spec: name a spec, or ask for --schema or --example")


prior_commands.register(app)
benchmark_command.register(app)
slurm_commands.register(app)


def _load(path: Path) -> Spec:
    from pipeline.spec_file import load_spec

    return load_spec(path)


def _run(spec: Spec, overwrite: bool) -> Summary:
    from pipeline.progress import RunProgress
    from pipeline.runner import run as run_spec

    console.print("preparing: source, weights, projector")
    try:
        with RunProgress(console) as progress:
            return run_spec(spec, progress, overwrite)
    except KeyboardInterrupt:
        raise Stopped(
            "stopped; run the same spec again to go on: finished blocks are kept"
        ) from None


def _finish(summary: Summary, spec: Path, root: str) -> None:
    """Say how a run ended; exit non-zero if any block failed."""
    from pipeline.report import write_report
    from pipeline.summary import result_table

    for record in summary.failed:
        console.print(f"block {record.block} failed, attempt {record.attempts}: {record.cause}")
        console.print(f"  alone, to see why: ddgm run {spec} --block {record.block}")
    if summary.done or summary.resumed:
        console.print(result_table(summary, root))
        write_report(root)
        names = {"volume": "volume.zarr", "report": "report.html", "picture": "preview.png"}
        for what, name in names.items():
            console.print(f"{what}: {root.rstrip('/')}/{name}")
    if summary.failed:
        raise DdgmError(
            f"{len(summary.failed)} of {summary.blocks} blocks failed; mend the causes and run the "
            "same spec again: finished blocks are kept"
        )


def main() -> None:
    """The `ddgm` command: what a user can mend is one line and exit status 1."""
    try:
        app()
    except DdgmError as error:
        _fail(str(error), 130 if isinstance(error, Stopped) else 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise  # not the user's to mend: show where it came from
        _fail(f"{error.filename or 'output'}: {error.strerror}; make room or mend the permissions")


def _fail(message: str, status: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
