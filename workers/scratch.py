"""Private folders for the scratch of Dask's processes, which import what lies in theirs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ddgm.core.errors import DdgmError

PREFIX = "ddgm-"
LOCK = "driver.lock"  # locked as long as the process lives that the folder belongs to


class ScratchError(DdgmError):
    """No folder for scratch can be made."""

    failure = "storage"


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder that nobody else may read or write, and that goes with the context.

    Dask's own has a name that is known beforehand, and belongs to whoever makes it first. Folders
    whose process was killed are removed.

    Raises:
        ScratchError: no folder can be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise ScratchError(
            f"cluster: no folder for scratch can be made ({error}); set TMPDIR to one on a disk "
            "with room"
        ) from error
    try:
        _remove_abandoned(folder.parent)
        partial = folder / f"{LOCK}.partial"
        with partial.open("wb") as lock:
            if _locked(lock):
                partial.rename(folder / LOCK)  # only now: nobody finds it unlocked
            yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove our own folders whose lock nobody holds; those without one may be just being made."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r+b") as lock:
                if _locked(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False where another has, or its file system cannot."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
