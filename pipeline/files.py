"""Small files of a run, on a local path or any URL that fsspec writes."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

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

    def names(self, folder: str, suffix: str) -> list[str]:
        """Files below a folder whose names end so, as names relative to the root, sorted."""
        fs, path = self._at(folder)
        _, root = self._at("")
        try:
            found = fs.find(path)
        except FileNotFoundError:
            return []
        return sorted(p[len(root.rstrip("/")) + 1 :] for p in found if p.endswith(suffix))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        fs, path = self._at(name)
        if fs.exists(path):
            fs.rm_file(path)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        fs, path = self._at("")
        if fs.exists(path):
            fs.rm(path, recursive=True)

    def entries(self) -> list[str]:
        """Names of what is in the folder; none where there is no folder."""
        fs, path = self._at("")
        if not fs.exists(path):
            return []
        return [p.rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False)]

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
