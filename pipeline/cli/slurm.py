"""The commands about SLURM: submit a run, and cancel it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddgm.pipeline.cli.options import OtherVersions
from ddgm.pipeline.terminal import console


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
) -> None:
    """Submit a spec to SLURM: a driver, and the workers that it needs.

    The driver keeps groups of workers in the queue. Resumes an earlier run of the spec that
    stopped. `ddgm status` shows its progress.

    Example: `ddgm submit my.yaml --dry-run`
    """
    from ddgm.deploy.slurm.submit import scripts_of
    from ddgm.deploy.slurm.submit import submit as send
    from ddgm.pipeline.spec.yaml_file import load_spec

    loaded = load_spec(spec)
    if dry_run:
        from ddgm.deploy.slurm.cost import cost_table

        scripts = scripts_of(loaded)
        for role, text in scripts.all().items():
            print(f"# {scripts.folder.path / role}.sh\n{text}")
        console.print(cost_table(loaded, scripts, console))
        return
    console.print("preparing: source, weights, projector")
    for job in send(loaded, overwrite, other_versions):
        console.print(f"{job.role}: job {job.id}")
    console.print(f"to look at it: ddgm status {loaded.output.path}")
    console.print(f"to end it: ddgm cancel {loaded.output.path}")


def cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder: a spec's output.path")],
) -> None:
    """Cancel all jobs of a submitted run; finished blocks are kept.

    Example: `ddgm cancel runs/hemibrain`
    """
    from ddgm.deploy.slurm.submit import cancel as end

    console.print(f"{end(run)} jobs are out of the queue; finished blocks are kept")
