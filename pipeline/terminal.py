"""The terminal that all commands print to."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

# C0 and C1 but tab and line feed; marks that turn the direction of text; halves of a character
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return the text with its control characters spelled out, so that a terminal shows them.

    Paths, URLs, causes, names of workers and hosts, and what servers answer come from outside.
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Terminal(Console):
    """A console that prints strings as they are: no markup, no control characters."""

    def __init__(self, **options: Any) -> None:
        plain: dict[str, Any] = {"soft_wrap": True, "highlight": False}
        super().__init__(**plain | options, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Go on without a word where nobody reads any more, as in `ddgm run my.yaml | head`."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a string what is printed; of cells of tables, too."""
        return super().render_str(printable(text), **options)


console = Terminal()
silent = Terminal(quiet=True)  # where a program reads what a command prints


def plural(count: int, noun: str) -> str:
    """A count with its noun, as in 1 block and 2 blocks."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 5 h 10 min, 2 d 4 h."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, parts = max(0, round(seconds)), []
    for name, size in units:
        if rest >= size or (name == "s" and not parts):
            parts.append(f"{rest // size} {name}")
            rest %= size
        elif parts:
            break
    return " ".join(parts[:2])


class Row(NamedTuple):
    """A line of a table, and what it says as JSON, with units in the names."""

    name: str
    text: str
    facts: Mapping[str, Any] = MappingProxyType({})


def show(title: str, rows: Iterable[Row], as_json: bool) -> None:
    """Print rows: as a table for people, or as one JSON object."""
    if as_json:
        print_json(facts_of(rows))
    else:
        console.print(table(title, rows))


def facts_of(rows: Iterable[Row]) -> dict[str, Any]:
    """The facts of all rows, as one JSON object."""
    facts: dict[str, Any] = {}
    for row in rows:
        facts |= row.facts
    return facts


def print_json(facts: Mapping[str, Any]) -> None:
    """Print a JSON object; numbers that JSON does not have are null in it."""
    print(json.dumps(_finite(facts), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, rows: Iterable[Sequence[Any]]) -> Table:
    """A table of names and values, without lines."""
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row[:2])
    return table
