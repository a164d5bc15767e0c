"""The command that looks at the machine."""

from __future__ import annotations

import typer

from ddgm.core.errors import DdgmError
from ddgm.pipeline.cli.options import AsJson
from ddgm.pipeline.terminal import Row, console, show, silent


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Look at what this machine has for a run: GPU, packages, folders, memory, SLURM.

    Says what to do where something is missing. The exit status is 1 if no run could do without it.

    Example: `ddgm doctor`, `ddgm doctor --json`
    """
    from ddgm.pipeline.doctor import findings

    with (silent if as_json else console).status("looking"):
        found = list(findings())
    remedies = {f.name: f.remedy for f in found if f.remedy}
    rows = [Row(f.name, f.text, f.facts) for f in found]
    broken = [f.name for f in found if f.broken]
    told = Row("to do", "", {"remedies": remedies, "broken": broken})
    show("this machine", [*rows, told] if as_json else rows, as_json)
    if not as_json:
        for name, remedy in remedies.items():
            console.print(f"{name}: {remedy}")
    if broken:
        raise DdgmError(f"{', '.join(broken)}: no run can do without; do as the lines above say")
