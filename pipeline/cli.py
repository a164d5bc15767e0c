"""The command line: parses, calls, prints."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddgm_core.errors import DdgmError, Stopped
from deploy.slurm import commands as slurm_commands
from pipeline import benchmark_command, input_commands, output_commands, prior_commands
from pipeline.console import console
from pipeline.faults import DISK_ERRORS
from pipeline.options import OtherVersions, Run

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


SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="a pipeline spec (YAML)")]


@app.callback()
def settings(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="show logs")] = False,
) -> None:
    from workers.urls import has_secret

    if any(map(has_secret, sys.argv[1:])):
        raise DdgmError(
            "a URL on the command line holds a password, which others can see; take it out, and "
            "give it by the environment or by the store's own configuration file"
        )
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
    loaded = _load(spec)
    _finish(_run(loaded), spec, loaded)


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
    other_versions: OtherVersions = False,
) -> None:
    """Run a spec, or go on where an earlier start of it stopped.

    Ctrl-C once finishes the blocks that are begun; twice stops at once. Either can be gone on with.

    Example: `ddgm run my.yaml`
    """
    loaded = _load(spec)
    _finish(_run(loaded, overwrite, other_versions), spec, loaded)


@app.command()
def block(
    spec: SpecPath,
    number: Annotated[int, typer.Option("--id", help="the block, as reports name it")],
) -> None:
    """Run one block alone, in this process and without a cluster, to see why it fails.

    Example: `ddgm block my.yaml --id 12`
    """
    from pipeline.runner import run_alone

    loaded = _load(spec)
    with console.status(f"block {number}"):
        record = run_alone(loaded, number)
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in record.seconds.items())
    console.print(f"block {number} is done: {seconds}")


@app.command()
def status(run: Run) -> None:
    """Show how far a run is, from any machine that sees its folder.

    Example: `ddgm status runs/hemibrain`
    """
    from deploy.slurm.status import slurm_lines
    from pipeline.status import status_table

    console.print(status_table(run))
    for line in slurm_lines(run):
        console.print(f"SLURM {line}")


for commands in (
    output_commands, input_commands, prior_commands, benchmark_command, slurm_commands,
):  # fmt: skip
    commands.register(app)


def _load(path: Path) -> Spec:
    from pipeline.spec_file import load_spec

    return load_spec(path)


def _run(spec: Spec, overwrite: bool = False, other_versions: bool = False) -> Summary:
    from pipeline.progress import RunProgress
    from pipeline.runner import run as run_spec

    console.print("preparing: source, weights, projector")
    try:
        with RunProgress(console) as progress:
            return run_spec(spec, progress, overwrite, other_versions=other_versions)
    except KeyboardInterrupt:
        raise Stopped(
            "stopped at once; run the same spec again to go on: finished blocks are kept"
        ) from None


def _finish(summary: Summary, spec: Path, loaded: Spec) -> None:
    """Say how a run ended; exit non-zero if any block failed."""
    from pipeline.files import Folder
    from pipeline.journal import log_name
    from pipeline.report import write_report
    from pipeline.status import result_table

    root = loaded.output.path
    logged = Folder(root).local_path() is not None  # object stores have no logs
    for record in summary.failed:
        console.print(f"block {record.block} failed, attempt {record.attempts}: {record.cause}")
        console.print(f"  alone, to see why: ddgm block {spec} --id {record.block}")
        if record.worker and logged:
            console.print(f"  log: {root.rstrip('/')}/{log_name(record.worker)}")
    if unlisted := summary.failures - len(summary.failed):
        console.print(f"and {unlisted} more; see the ledger")
    if summary.done or summary.resumed:
        console.print(result_table(summary, root))
        write_report(root)
        names = {"volume": "volume.zarr", "report": "report.html", "picture": "preview.png"}
        for what, name in names.items():
            console.print(f"{what}: {root.rstrip('/')}/{name}")
    if summary.failures:
        raise DdgmError(
            f"{summary.failures} of {summary.blocks} blocks failed; mend the causes and run the "
            "same spec again: finished blocks are kept"
        )


def main() -> None:
    """The `ddgm` command: what a user can mend is one line and exit status 1."""
    try:
        app()
    except DdgmError as error:
        _fail(str(error), 130 if isinstance(error, Stopped) else 1)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise  # not the user's to mend: show where it came from
        _fail(f"{error.filename or 'output'}: {error.strerror}; make room or mend the permissions")


def _fail(message: str, status: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
