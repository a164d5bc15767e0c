"""Word of a run's end to those whom its spec names: a program, or a web server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any
from urllib.request import Request, urlopen

from ddgm.core.errors import DdgmError
from ddgm.pipeline.run.progress.outcome import Outcome
from ddgm.pipeline.run.progress.state import read_state
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.terminal import console, printable

COMMAND_SECONDS = 60.0  # that a program is given
WEBHOOK_SECONDS = 10.0  # that a server is given to answer


@contextmanager
def notified(spec: Spec) -> Iterator[None]:
    """Tell whom a spec names how the context ends, unless it is stopped by its user.

    What goes wrong there is printed, and changes nothing of how the context ends.

    Raises:
        DdgmError: the URL to post to is not there; nothing was begun.
    """
    if spec.notify and spec.notify.webhook:
        _url(spec.notify.webhook)
    try:
        yield
    except BaseException as error:
        _tell(spec, Outcome.of_error(error))
        raise
    _tell(spec, Outcome.of("done"))


def _tell(spec: Spec, outcome: Outcome) -> None:
    asked = spec.notify
    if asked is None or outcome.kind == "stopped":
        return
    facts = _facts(spec.output.path, outcome)
    if asked.command:
        _warn("notify.command", _run(asked.command, facts))
    if asked.webhook:
        _warn("notify.webhook", _post(asked.webhook, facts))


def _facts(run: str, outcome: Outcome) -> dict[str, Any]:
    """How it ended, and how many blocks are done, if any were run."""
    facts: dict[str, Any] = {"run": run, **asdict(outcome)}
    with suppress(DdgmError, OSError, KeyError):
        store = RunStore(run)
        manifest = store.manifest()
        state = read_state(store, manifest["digest"]) or {}
        facts |= {"blocks": manifest["blocks"]}
        facts |= {key: state["tally"][key] for key in ("done", "failed")}
    return facts


def _run(command: tuple[str, ...], facts: dict[str, Any]) -> str:
    """Run a program with the facts in its environment; what went wrong, if anything did."""
    told = {f"DDGM_{name.upper()}": printable(str(value)) for name, value in facts.items()}
    try:
        done = subprocess.run(
            command,
            env=os.environ | told,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    last = done.stderr.strip().rpartition("\n")[2]
    return f"{command[0]} ended with status {done.returncode}: {last}" if done.returncode else ""


def _post(variable: str, facts: dict[str, Any]) -> str:
    """Post the facts as JSON to the URL that a variable holds; what went wrong, if anything did.

    The URL is not in what is returned: who has it may write there.
    """
    text = f"ddgm: {facts['run']}: {facts['message'] or facts['kind']}"
    body = json.dumps({"text": text, **facts}).encode()  # `text` is what chats show
    request = Request(_url(variable), body, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=WEBHOOK_SECONDS):
            return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "code", None) or getattr(error, "reason", type(error).__name__)
        return f"the server answered with {reason}"


def _url(variable: str) -> str:
    url = os.environ.get(variable, "")
    if not url.startswith(("https://", "http://")):
        raise DdgmError(
            f"notify.webhook: the environment variable {variable} holds no http or https URL; set "
            "it, or leave the key out"
        )
    return url


def _warn(field: str, what: str) -> None:
    if what:
        console.print(f"{field}: {what}; nobody was told, and the run is as it is")
