"""The base class of all errors that a user can mend."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Failure = Literal[
    "mistake",
    "blocks",
    "cluster",
    "unreachable",
    "storage",
    "damage",
    "locked",
    "fault",
    "stopped",
]
"""What a program can tell apart; docs/run.md says what each means, and its exit status."""


class DdgmError(Exception):
    """An error with a remedy: one line that names the field, the value and what to do.

    The command line prints it without a traceback and exits with the status of its failure.

    Attributes:
        failure: what kind of failure it is, for programs.
        facts: what a command has found all the same, for its JSON.
    """

    failure: Failure = "mistake"
    facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str = "", failure: Failure | None = None) -> None:
        super().__init__(message)
        if failure is not None:
            self.failure = failure


class Stopped(DdgmError):
    """Stopped by Ctrl-C: what was finished is kept, and the same command continues from there."""

    failure = "stopped"
