"""Worker logs: RUN/logs/NAME.jsonl, one line of JSON for each event, bounded in size."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from ddgm.core.process_cache import cached_in_process
from ddgm.pipeline.store.files import Folder

LOGS = "logs"


MAX_BYTES = 1_000_000  # of a file; one older one is kept beside it


LogFunction = Callable[..., None]


def worker_log(root: str, name: str) -> LogFunction:
    """The log of a process in a run's folder: call it with what happened, and the particulars.

    Where the run's folder is on no file system of this machine, or cannot be written, nothing is
    written: a log is no reason to fail.
    """
    return cached_in_process(("log", root, name), lambda: _opened(root, name))


def log_name(name: str) -> str:
    """A process's log, relative to the run's folder."""
    safe = "".join(c if c.isalnum() or c in "-._" else "-" for c in name)
    return f"{LOGS}/{safe}.jsonl"


def _opened(root: str, name: str) -> LogFunction:
    path = Folder(root).local_path(log_name(name))
    if path is None:
        return lambda event, **about: None
    logger = logging.Logger(name)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        logger.addHandler(_Bounded(path, maxBytes=MAX_BYTES, backupCount=1))
    except OSError:
        logger.addHandler(logging.NullHandler())

    def write(event: str, **about: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        logger.info(json.dumps({"time": now, "event": event, **about}))

    return write


class _Bounded(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Errors are ignored here: the data path reports a full disk."""
