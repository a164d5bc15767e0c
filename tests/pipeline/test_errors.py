"""Failures of commands: their kinds, and the exit statuses that the docs promise."""

from __future__ import annotations

import errno
import json
import pickle
import re
from pathlib import Path
from typing import get_args

import pytest

from ddgm.core.errors import DdgmError, Failure, Stopped
from ddgm.pipeline.cli import outputs
from ddgm.pipeline.errors import EXIT_STATUS, failure_of
from ddgm.pipeline.store.arrays import DamageError
from ddgm.pipeline.store.lock import LockError
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.runs import run_ddgm

DOCS = Path(__file__).parents[2] / "docs" / "run.md"


def test_the_docs_list_every_kind_of_failure_with_its_exit_status() -> None:
    listed = re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCS.read_text("utf-8"), re.MULTILINE)
    assert {kind: int(status) for status, kind in listed} == EXIT_STATUS
    assert set(EXIT_STATUS) == set(get_args(Failure))
    assert len({*EXIT_STATUS.values(), 0, 2}) == len(EXIT_STATUS) + 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DdgmError("prior.stride: 33"), "mistake"),
        (DdgmError("2 of 8 blocks failed", "blocks"), "blocks"),
        (SourceError("source", "unreachable"), "unreachable"),
        (SourceError("source", "not_found"), "mistake"),
        (LockError("run"), "locked"),
        (DamageError("run"), "damage"),
        (Stopped("stopped"), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (OSError(errno.ENOSPC, "full"), "storage"),
        (NotADirectoryError(errno.ENOTDIR, "a file"), "mistake"),
        (OSError(errno.EIO, "a broken disk"), "fault"),
        (ZeroDivisionError(), "fault"),
    ],
)
def test_an_error_keeps_its_kind_between_processes(error: BaseException, kind: Failure) -> None:
    assert failure_of(error) == kind
    assert failure_of(pickle.loads(pickle.dumps(error))) == kind


def test_a_fault_of_our_own_has_a_traceback_and_a_status_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "asdict", lambda found: 1 / 0)
    monkeypatch.setattr("ddgm.pipeline.run.verify.verify_run", lambda *_: object())
    monkeypatch.setattr(outputs, "plural", lambda *_: "")
    status, out, err = run_ddgm(capsys, "verify", "run", "--json")
    assert status == EXIT_STATUS["fault"]
    assert "Traceback" in err
    assert json.loads(out)["error"]["kind"] == "fault"
