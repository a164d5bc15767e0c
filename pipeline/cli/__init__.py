"""The command line: parses, calls, prints. Each file here holds the commands of one kind."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from ddgm.core.errors import DdgmError, Failure
from ddgm.pipeline.cli import doctor, evaluation, inputs, outputs, priors, run, slurm, view
from ddgm.pipeline.errors import EXIT_STATUS, failure_of, one_line
from ddgm.pipeline.terminal import print_json, printable

REMEDIES: dict[Failure, str] = {  # of what a disk says
    "storage": "make room or mend the permissions",
    "mistake": "move away what is there, or choose another path",
}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes as long to import as all else together
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    help="Reconstruct tilt series at volume scale with a denoising prior (DDGM).\n\n"
    "Start with `ddgm demo`, then write a spec (`ddgm spec --example`), look at what it will "
    "cost (`ddgm plan SPEC`) and run it (`ddgm run SPEC`).",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"ddgm {version('ddgm')}")
        raise typer.Exit


@app.callback()
def settings(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="show logs")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="say which")
    ] = False,
) -> None:
    from ddgm.workers.urls import has_secret

    if any(map(has_secret, sys.argv[1:])):
        raise DdgmError(
            "a URL on the command line holds a password, which others can see; take it out, and "
            "give it by the environment or by the store's own configuration file"
        )
    level = logging.INFO if verbose else logging.CRITICAL
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:  # Dask sets levels of its own on its loggers
        handler.setLevel(level)


for commands in (run, outputs, view, inputs, priors, evaluation, slurm, doctor):
    commands.register(app)


def main() -> None:
    """The `ddgm` command: what a user can mend is one line, and an exit status that says which."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII locale: rather a ? than a traceback
            stream.reconfigure(errors="replace")
    os.environ["PYTHONSAFEPATH"] = "1"  # no child imports from the folder that this is started in
    try:
        with _stopped_by_signals():
            app()
    except Exception as error:
        _end(error)


def _end(error: Exception) -> NoReturn:
    """Say what went wrong, on one line if the user can mend it, and exit with its status."""
    failure, message = failure_of(error), str(error)
    if isinstance(error, OSError):
        message = f"{error.filename or 'output'}: {error.strerror}; {REMEDIES.get(failure)}"
    elif isinstance(error, ValueError) and message.startswith("A dask config file"):
        # which Dask reads as it is imported
        what = " ".join(message.split())[:300]
        failure = "mistake"
        message = f"{what}; mend or remove the file, or set DASK_CONFIG to another folder"
    if failure == "fault":  # not the user's to mend: show where it came from
        traceback.print_exc()
        message = one_line(error)
    else:
        print(f"error: {printable(message)}", file=sys.stderr)
    if "--json" in sys.argv:
        facts = error.facts if isinstance(error, DdgmError) else {}
        print_json({**facts, "error": {"kind": failure, "message": message}})
    sys.exit(EXIT_STATUS[failure])


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as a second Ctrl-C does."""

    def stop(*_: object) -> None:
        for number in before:  # nothing disturbs the end
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    ends = signal.SIGTERM, signal.SIGHUP
    before = {number: signal.getsignal(number) for number in (*ends, signal.SIGINT)}
    for number in ends:
        if before[number] != signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
