"""Arrays that are built once per geometry and kept on disk, whichever process is first."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ddgm.core.files import atomic_path
from ddgm.core.geometry import TiltGeometry
from ddgm.core.process_work import work

Arrays = dict[str, np.ndarray]

BUILD = 2  # raise it when what is built for the same geometry changes
BUILDERS = "astra-toolbox", "numpy", "scipy", "torch"  # packages that decide what is built
LABEL = "label"  # the array of a file that says what it holds, in JSON


def cache_folder() -> Path:
    """`$DDGM_CACHE`, else `~/.cache/ddgm`."""
    return Path(os.environ.get("DDGM_CACHE") or "~/.cache/ddgm").expanduser()


def cached(
    kind: str, geometry: TiltGeometry, build: Callable[[], Arrays], folder: Path | None = None
) -> Arrays:
    """The arrays of a kind for a geometry: from disk if they are there and whole, else built.

    Processes that ask at once wait for the first. A file counts only with the label of this
    geometry, of these versions and of these very bytes. What cannot be kept is built all the
    same, and a line in the log says so.
    """
    try:
        folder = folder or cache_folder()
        path = folder / f"{kind}-{geometry.digest[:24]}-{BUILD}.npz"
        if (arrays := _read(path, geometry)) is not None:
            return arrays
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("w")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return _unkept(build(), folder, error)
    with lock, _locked(lock.fileno()):
        if (arrays := _read(path, geometry)) is not None:
            return arrays
        arrays = build()
        try:
            with atomic_path(path) as partial, partial.open("wb") as f:
                np.savez(f, **arrays, **{LABEL: _label(geometry, arrays)})  # type: ignore[arg-type]
        except OSError as error:
            return _unkept(arrays, folder, error)
    return arrays


def _unkept(arrays: Arrays, folder: Path | None, error: Exception) -> Arrays:
    logging.getLogger("ddgm").warning(
        "the projector's matrices are built and not kept in %s (%s); set DDGM_CACHE to a folder "
        "that can be written",
        folder or "~/.cache/ddgm",
        error,
    )
    return arrays


def _read(path: Path, geometry: TiltGeometry) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as f:
            arrays = dict(f)  # each member is checked against its CRC as it is read
        found = json.loads(bytes(arrays.pop(LABEL)))
        wanted = json.loads(bytes(_label(geometry, arrays)))
        # a file may be carried to a machine without ASTRA: what is not here is not compared
        found["versions"] = {p: found["versions"].get(p) for p in wanted["versions"]}
        return arrays if found == wanted else None
    except Exception:  # damage takes many forms, and numpy and zipfile share no base class
        return None


def _label(geometry: TiltGeometry, arrays: Arrays) -> np.ndarray:
    """Geometry, shapes, versions and a checksum of arrays, as bytes of JSON."""
    checksum, shapes = hashlib.blake2b(digest_size=16), {}
    for name, array in sorted(arrays.items()):
        shapes[name] = [array.dtype.str, *array.shape]
        checksum.update(np.ascontiguousarray(array).data)
    label = {
        "geometry": geometry.digest,
        "shapes": shapes,
        "versions": _versions(),
        "checksum": checksum.hexdigest(),
    }
    return np.frombuffer(json.dumps(label).encode(), np.uint8)


def _versions() -> dict[str, str]:
    found = {}
    for package in BUILDERS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@contextmanager
def _locked(fd: int) -> Iterator[None]:
    # on a file system without locks more than one builds, each the same; a lock is released when
    # the file closes, or its process dies
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError), work("waiting for another process that builds a projector"):
            fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        pass
    yield
