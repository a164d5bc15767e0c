"""Files that are whole or not there, and the names of files that count for nothing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

# what a file is called until it is whole; zarr's own have the same ending
PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")

# file systems without hard links
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# of a directory: file systems that cannot sync one, and folders that one may only pass through
_UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a name to write a file under, which is moved to `path` once the context ends well.

    The file is on the disk before it has its name: a power cut leaves all of it or none. Where
    the context raises, nothing is left. Folders on the way are made.
    """
    whole = Path(path)
    make_folders(whole.parent)
    partial = whole.with_name(f"{whole.name}.{uuid4().hex}.partial")
    try:
        yield partial
        sync_file(partial)
        partial.replace(whole)
        sync_folder(whole.parent)
    finally:
        partial.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Put a file in place whole or not at all; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def create_whole(path: str | os.PathLike[str], data: bytes) -> bool:
    """Put a file in place that must not be there; False, and nothing done, where it is.

    It appears with its contents, and of many processes that try at once one succeeds, on NFS, too.
    """
    whole = Path(path)
    make_folders(whole.parent)
    partial = whole.with_name(f"{whole.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        sync_file(partial)
        try:
            os.link(partial, whole)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with whole.open("xb") as f:
                f.write(data)
        sync_folder(whole.parent)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, each on the disk before what is put into it."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_file(path: str | os.PathLike[str]) -> None:
    """Return once a file's contents are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Return once a folder's names are on the disk, where the file system can say so."""
    try:
        sync_file(folder)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise


def is_system_file(name: str) -> bool:
    """True for names of files that operating systems leave in any folder."""
    return name in (".DS_Store", "Thumbs.db") or name.startswith((".nfs", "._"))


def size_of(path: str) -> int:
    """Bytes of a file; 0 where there is none."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_size
    return 0


def files_in(folder: str) -> list[dict[str, Any]]:
    """Name, size and time of change (`mtime`, in nanoseconds) of each file in a folder."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # gone since
                about = entry.stat()
                found.append(
                    {"name": entry.name, "size": about.st_size, "mtime": about.st_mtime_ns}
                )
    return found
