"""The commands about a run: plan it, run it, resume it, see its state."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ddgm.core.errors import DdgmError, Stopped
from ddgm.pipeline.cli.options import AsJson, OtherVersions, Run
from ddgm.pipeline.terminal import Row, console, duration, facts_of, plural, show, silent

if TYPE_CHECKING:
    from ddgm.pipeline.run.result import RunResult
    from ddgm.pipeline.spec.model import Spec

WATCH_SECONDS = 5.0  # between two looks at a run

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="a pipeline spec (YAML)")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (demo, plan, run, calibrate, block, status):
        app.command()(command)


def demo(
    folder: Annotated[
        Path, typer.Option(help="folder for all of it; an earlier demo there is replaced")
    ] = Path("demo"),
) -> None:
    """Reconstruct a sample volume through the whole pipeline.

    Example: `ddgm demo --folder /tmp/demo`
    """
    from ddgm.pipeline.cli.demo import make_demo

    with console.status("making a volume of procedural neuropil"):
        spec = make_demo(folder)
    console.print(f"volume and spec: {folder}/volume, {spec}")
    loaded = _load(spec)
    _finish(_run(loaded), spec, loaded)


def plan(
    spec: SpecPath,
    calibrate: Annotated[bool, typer.Option(help="time the network and the data step")] = True,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do and cost, without running it.

    Also works where the source cannot be reached, from the spec's box alone. The exit status is 1
    if a run would be refused: a block is too large for a worker, say.

    Example: `ddgm plan deploy/specs/hemibrain.yaml --no-calibrate --json`
    """
    from ddgm.pipeline.cli.shown.plan_table import check_runs, plan_or_assumed, plan_rows

    shown = silent if as_json else console
    planned, answered = plan_or_assumed(_load(spec), shown)
    rows = plan_rows(planned, answered, calibrate, shown)
    try:
        check_runs(planned)
    except DdgmError as error:
        if as_json:  # it is one object, which is printed with the error
            error.facts = facts_of(rows)
        else:
            show("plan", rows, as_json)
        raise
    show("plan", rows, as_json)


def run(
    spec: SpecPath,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="delete what an earlier run left in output.path")
    ] = False,
    other_versions: OtherVersions = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="print failed blocks and the last line alone")
    ] = False,
) -> None:
    """Run a spec, or resume it where an earlier start stopped.

    Ctrl-C once finishes the blocks that are begun; twice stops at once. The run can be resumed.

    Example: `ddgm run my.yaml`, `ddgm run my.yaml --quiet`
    """
    from ddgm.pipeline.run.progress.notify import notified

    loaded = _load(spec)
    with notified(loaded):
        _finish(_run(loaded, overwrite, other_versions, quiet), spec, loaded, quiet)


def calibrate(
    spec: SpecPath,
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="of the calibration; one that is there is replaced")
    ] = Path("calibration.json"),
    rate: Annotated[
        float, typer.Option(help="share of voxels whose truth is to lie between low and high")
    ] = 0.9,
) -> None:
    """Learn intervals that hold at a stated rate, from a spec on a volume with truth.

    Runs the spec, unless its run is finished. Another spec of the same geometry, noise, prior and
    method names the file, as `calibration: FILE`, and gets the layers low and high.

    Example: `ddgm calibrate truth.yaml --output small-lateral.json`
    """
    from ddgm.core.files import atomic_write
    from ddgm.pipeline.block.calibration import sealed
    from ddgm.pipeline.calibration.learn import check_plan, learn
    from ddgm.pipeline.spec.plan import make_plan

    loaded = _load(spec)
    check_plan(make_plan(loaded), rate)
    result = _run(loaded)
    if result.failed:
        failed = plural(result.failures, "block")
        raise DdgmError(f"{failed} failed; see `ddgm status {spec}`", "blocks")
    with console.status("learning from the truth"):
        made = learn(loaded.output.path, rate)
    atomic_write(output, sealed(made))
    console.print(
        f"wrote {output}: a map of {plural(made.slices.learnt, 'slice')}, scaled by "
        f"{made.scale:.3f} on {made.slices.scaled} others ({made.slices.needed} are needed)"
    )
    console.print(
        f"the truth of {rate:.4g} of the voxels is expected between low and high in a slice that "
        "could as well have been one of these; see docs/trust.md"
    )


def block(
    spec: SpecPath,
    number: Annotated[int, typer.Option("--id", help="the block, as reports name it")],
) -> None:
    """Run one block alone, in this process, to see why it fails.

    Example: `ddgm block my.yaml --id 12`
    """
    from ddgm.pipeline.progress_bar import ProgressBar
    from ddgm.pipeline.run.runner import run_alone

    loaded = _load(spec)
    with ProgressBar(console, f"block {number}"):
        record = run_alone(loaded, number)
    seconds = ", ".join(f"{k} {v:.1f} s" for k, v in record.seconds.items())
    console.print(f"block {number} is done: {seconds}")


def status(
    run: Run,
    watch: Annotated[
        bool, typer.Option("--watch", help="look every few seconds until the run ends")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is, from any machine that sees its folder.

    Example: `ddgm status my.yaml --watch`, `ddgm status runs/hemibrain --json`
    """
    from ddgm.deploy.slurm.status import in_queue
    from ddgm.pipeline.store.files import Folder
    from ddgm.pipeline.store.lock import WatchedDriver

    if watch and as_json:
        raise typer.BadParameter("prints one look; leave out --watch", param_hint="--json")
    driver = WatchedDriver(Folder(run))
    try:
        while True:
            goes_on = watch and (driver.lives() or in_queue(run))  # the last look shows the end
            _look(run, watch, as_json)
            if not goes_on:
                return
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        raise Stopped("stopped looking; the run itself goes on") from None


def _look(run: str, again: bool, as_json: bool) -> None:
    from ddgm.deploy.slurm.status import slurm_lines
    from ddgm.pipeline.cli.shown.status_table import status_rows

    rows, lines = status_rows(run), slurm_lines(run)
    if again and console.is_terminal:
        console.clear()
    if as_json:
        rows += [Row("SLURM", line, {"slurm": lines}) for line in lines]
    show("run", rows, as_json)
    if not as_json:
        for line in lines:  # below the table, in which a log's path would be broken
            console.print(f"SLURM {line}")


def _load(path: Path) -> Spec:
    from ddgm.pipeline.spec.yaml_file import load_spec

    return load_spec(path)


def _run(
    spec: Spec, overwrite: bool = False, other_versions: bool = False, quiet: bool = False
) -> RunResult:
    from ddgm.pipeline.cli.shown.progress import RunProgress
    from ddgm.pipeline.run.runner import run as run_spec

    shown = silent if quiet else console
    shown.print("preparing: source, weights, projector")
    try:
        with RunProgress(shown) as progress:
            return run_spec(spec, progress, overwrite, other_versions=other_versions)
    except KeyboardInterrupt:
        raise Stopped(
            "stopped at once; run the same spec again to go on: finished blocks are kept"
        ) from None


def _finish(result: RunResult, spec: Path, loaded: Spec, quiet: bool = False) -> None:
    """Say how a run ended; exit non-zero if any block failed."""
    from ddgm.pipeline.cli.shown.status_table import result_table
    from ddgm.pipeline.report.write import write_report
    from ddgm.pipeline.store.files import Folder
    from ddgm.pipeline.store.log import log_name

    root = loaded.output.path
    logged = Folder(root).local_path() is not None  # object stores have no logs
    for record in result.failed:
        console.print(f"block {record.block} failed, attempt {record.attempts}: {record.cause}")
        console.print(f"  alone, to see why: ddgm block {spec} --id {record.block}")
        if record.worker and logged:
            console.print(f"  log: {root.rstrip('/')}/{log_name(record.worker)}")
    if unlisted := result.failures - len(result.failed):
        console.print(f"and {unlisted} more; see the ledger")
    if result.done or result.resumed:
        write_report(root, silent.print if quiet else console.print)
        if quiet:
            done = plural(result.done + result.resumed, "block")
            console.print(f"{done} done in {duration(result.seconds)}: {root}")
        else:
            console.print(result_table(result, root))
            names = {"volume": "volume.zarr", "report": "report.html", "picture": "preview.png"}
            for what, name in names.items():
                console.print(f"{what}: {root.rstrip('/')}/{name}")
            console.print(f"to look at the volume: ddgm view {quote(root)}", soft_wrap=True)
    if result.failures:
        raise DdgmError(
            f"{result.failures} of {result.blocks} blocks failed; mend the causes and run the "
            "same spec again: finished blocks are kept",
            "blocks",
        )
