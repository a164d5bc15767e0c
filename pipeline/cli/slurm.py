"""The commands about SLURM: submit a run, and cancel it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddgm.pipeline.cli.options import AsJson, OtherVersions, Run
from ddgm.pipeline.terminal import Row, console, plural, show, silent


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(submit)
    app.command()(cancel)


def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="a spec with cluster.kind slurm")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the scripts and what they cost; send nothing")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="delete what an earlier run left in output.path")
    ] = False,
    other_versions: OtherVersions = False,
    as_json: AsJson = False,
) -> None:
    """Submit a spec to SLURM: a driver, and the workers that it needs.

    The driver keeps groups of workers in the queue. Resumes an earlier run of the spec that
    stopped. `ddgm status` shows its progress.

    Example: `ddgm submit my.yaml --dry-run --json`
    """
    from ddgm.deploy.slurm.submit import scripts_of
    from ddgm.deploy.slurm.submit import submit as send
    from ddgm.pipeline.spec.yaml_file import load_spec

    if as_json and not dry_run:
        raise typer.BadParameter("goes with --dry-run alone", param_hint="--json")
    loaded = load_spec(spec)
    if dry_run:
        from ddgm.deploy.slurm.cost import cost_rows

        scripts = scripts_of(loaded)
        rows = cost_rows(loaded, scripts, silent if as_json else console)
        texts = {f"{scripts.folder.path / role}.sh": text for role, text in scripts.all().items()}
        if as_json:
            show("cost", [Row("scripts", "", {"scripts": texts}), *rows], as_json)
            return
        for path, text in texts.items():
            print(f"# {path}\n{text}")
        show("cost", rows, as_json)
        return
    console.print("preparing: source, weights, projector")
    for job in send(loaded, overwrite, other_versions):
        console.print(f"{job.role}: job {job.id}")
    console.print(f"to look at it: ddgm status {loaded.output.path}")
    console.print(f"to end it: ddgm cancel {loaded.output.path}")


def cancel(run: Run) -> None:
    """Cancel all jobs of a submitted run; finished blocks are kept.

    Example: `ddgm cancel runs/hemibrain`
    """
    from ddgm.deploy.slurm.submit import cancel as end

    console.print(f"{plural(end(run), 'job')} taken out of the queue; finished blocks are kept")
