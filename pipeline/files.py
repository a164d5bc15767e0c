"""Small files of a run, on a local path or any URL that fsspec writes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ddgm_core.errors import DdgmError


class FolderError(DdgmError):
    """A folder that cannot be opened."""


@dataclass(frozen=True)
class Folder:
    """A folder, by path or URL. Names within it are relative, with `/` between the parts."""

    root: str

    def _at(self, name: str) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            fs, path = fsspec.core.url_to_fs(self.root)
        except (ImportError, ValueError) as error:
            raise FolderError(f"output.path: {self.root} cannot be opened: {error}") from error
        if isinstance(fs, LocalFileSystem) and os.path.isfile(path):
            raise FolderError(f"output.path: {self.root} is a file; choose another folder")
        return fs, f"{path.rstrip('/')}/{name}" if name else path

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place whole or not at all; object stores do so by themselves."""
        fs, path = self._at(name)
        if not isinstance(fs, LocalFileSystem):
            fs.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            with open(partial, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())  # a power cut must not leave a name without its contents
            os.replace(partial, path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)

    def create(self, name: str, data: bytes) -> bool:
        """Put a file in place that must not be there; False, and nothing done, where it is."""
        fs, path = self._at(name)
        if not isinstance(fs, LocalFileSystem):
            if fs.exists(path):  # not every store can do both at once; a driver's beats find out
                return False
            fs.pipe_file(path, data)
            return True
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path, "xb") as f:
                f.write(data)
        except FileExistsError:
            return False
        return True

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None where there is none."""
        fs, path = self._at(name)
        try:
            return bytes(fs.cat_file(path))  # type: ignore[arg-type]
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int:
        """Bytes of a file; 0 where there is none."""
        fs, path = self._at(name)
        return fs.size(path) or 0 if fs.exists(path) else 0

    def names(self, folder: str) -> list[str]:
        """What is in a folder, files and folders, by their own names, sorted; none if not there."""
        fs, path = self._at(folder)
        try:
            found = fs.ls(path, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in found)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write piece by piece, in place once the context has ended well."""
        fs, path = self._at(name)
        if not isinstance(fs, LocalFileSystem):
            with fs.open(path, "wb") as f:
                yield f  # type: ignore[misc]
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            with open(partial, "wb") as f:
                yield f
            os.replace(partial, path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        fs, path = self._at(name)
        if fs.exists(path):
            fs.rm_file(path)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder and all that is in it."""
        fs, path = self._at(name)
        if fs.exists(path):
            fs.rm(path, recursive=True)

    def free_bytes(self) -> int | None:
        """Space left on a local disk; None for object stores."""
        fs, path = self._at("")
        if not isinstance(fs, LocalFileSystem):
            return None
        while not os.path.exists(path):
            path = os.path.dirname(path)
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def local_path(self, name: str = "") -> str | None:
        """The path on this machine; None for object stores."""
        fs, path = self._at(name)
        return path if isinstance(fs, LocalFileSystem) else None
