"""Arrays that are built once per geometry and kept on disk, whichever process is first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

BUILD = 1  # raise it when what is built for the same geometry changes


def cache_folder() -> Path:
    """`$DDGM_CACHE`, else `~/.cache/ddgm`."""
    return Path(os.environ.get("DDGM_CACHE") or "~/.cache/ddgm").expanduser()


def cached(name: str, build: Callable[[], Arrays], folder: Path | None = None) -> Arrays:
    """The arrays called `name`: from disk if they are there and whole, else built and kept.

    Processes that ask at once wait for the first; a file appears under its name only when
    whole, and one that cannot be read is built again.
    """
    folder = folder or cache_folder()
    path = folder / f"{name}-{BUILD}.npz"
    if (arrays := _read(path)) is not None:
        return arrays
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f"{name}.lock"):
        if (arrays := _read(path)) is not None:
            return arrays
        arrays = build()
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as f:
                np.savez(f, **arrays)  # type: ignore[arg-type]
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return arrays


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as f:
            return dict(f)  # each member is checked against its CRC as it is read
    except Exception:  # damage takes many forms, and numpy and zipfile share no base class
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)  # released when the file closes, or its process dies
        yield
