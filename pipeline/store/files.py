"""Small files of a run, on a local path or any URL that fsspec writes."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ddgm.core.errors import DdgmError
from ddgm.core.files import (
    atomic_path,
    atomic_write,
    create_whole,
    files_in,
    is_system_file,
    make_folders,
    size_of,
    sync_file,
    sync_folder,
)
from ddgm.pipeline.errors import kind_of, one_line
from ddgm.workers.urls import redacted

OPTIONS = {"use_listings_cache": False}  # for fsspec: other processes write here, too

# what stores call a file's version or its time of change, the surest first
CHANGED = "ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created"


class FolderError(DdgmError):
    """A folder that cannot be opened, or may not be used."""

    is_fatal = True  # for all blocks of a run


class IsAFolderError(FolderError):
    """A folder where a file belongs."""


class UnreachableError(FolderError):
    """A store over the network that does not answer as it should."""

    failure = "unreachable"
    is_fatal = False
    is_retryable = True


@dataclass(frozen=True)
class Folder:
    """A folder, by path or URL. Names within it are relative, with `/` between the parts.

    All methods raise FolderError for a URL that nothing can open, and for a store over the
    network that refuses or does not answer; a disk's errors are OSErrors.
    """

    root: str

    def _at(self, name: str) -> tuple[fsspec.AbstractFileSystem, str]:
        fs, path = self._opened()
        if isinstance(fs, LocalFileSystem) and not os.path.isdir(path):
            _check_way(path)
        return fs, f"{path.rstrip('/')}/{name}" if name else path

    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """File system and path: a path without a protocol is a local one, whatever it holds."""
        if "://" not in self.root:
            return LocalFileSystem(), os.path.abspath(os.path.expanduser(self.root))
        if "::" in self.root:  # fsspec would take what is behind it for another file system's path
            raise FolderError(
                f"output.path: {self.root} chains file systems by `::`; give the URL of one folder"
            )
        try:
            return fsspec.core.url_to_fs(self.root, **OPTIONS)
        except (ImportError, ValueError) as error:
            s3 = self.root.startswith(("s3:", "s3a:")) and isinstance(error, ImportError)
            remedy = "; install it with `pip install 'ddgm[s3]'`" if s3 else ""
            raise FolderError(
                f"output.path: {self.root} cannot be opened: {error}{remedy}"
            ) from error

    @contextmanager
    def store_errors(self) -> Iterator[None]:
        """Turn a remote store's errors into FolderError; local OSErrors pass."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, DdgmError):
            raise
        except Exception as error:
            kind = kind_of(error)
            if kind not in ("credentials", "unreachable") or self.local_path() is not None:
                raise
            what = f"output.path: {self.root}: {redacted(one_line(error))[:300]}"
            if kind == "credentials":
                raise FolderError(
                    f"{what}; give credentials that may write there by the environment "
                    "(AWS_ACCESS_KEY_ID and the like) or by a configuration file, on all machines",
                    "storage",
                ) from error
            raise UnreachableError(
                f"{what}; check the network, and AWS_ENDPOINT_URL for a store that is not Amazon's"
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place whole or not at all; object stores do so by themselves."""
        fs, path = self._at(name)
        if not isinstance(fs, LocalFileSystem):
            with self.store_errors():
                self._put(fs, path, data)
            return
        atomic_write(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Put a file in place that must not be there; False, and nothing done, where it is."""
        fs, path = self._at(name)
        if isinstance(fs, LocalFileSystem):
            return create_whole(path, data)
        with self.store_errors():
            if fs.exists(path):  # there are stores that pass over the condition below
                return False
            try:
                self._put(fs, path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if fs.exists(path):  # refused, in a store's own words
                    return False
                if error.errno != errno.ENOSYS:
                    raise
                self._put(fs, path, data)  # one that knows no condition; the beats find out
        return True

    def _put(self, fs: fsspec.AbstractFileSystem, path: str, data: bytes, **options: Any) -> None:
        try:
            fs.pipe_file(path, data, **options)
        except FileNotFoundError as error:
            raise FolderError(
                f"output.path: {self.root} cannot be written: {one_line(error)}; make it first"
            ) from error

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None where there is none."""
        fs, path = self._at(name)
        try:
            with suppress(FileNotFoundError), self.store_errors():
                return bytes(fs.cat_file(path))  # type: ignore[arg-type]
        except IsADirectoryError as error:
            raise IsAFolderError(
                f"{self.root.rstrip('/')}/{name} is a folder, where a file belongs; move it away"
            ) from error
        return None

    def read_part(self, name: str, start: int, stop: int) -> bytes:
        """A range of a file's bytes.

        Raises:
            OSError: there is no such file.
        """
        fs, path = self._at(name)
        with self.store_errors():
            return bytes(fs.cat_file(path, start=start, end=stop))  # type: ignore[arg-type]

    def read_all(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The files that are there, name and bytes; over a network many are fetched at once."""
        fs, _ = self._at("")
        paths = [self._at(name)[1] for name in names]
        with self.store_errors():
            found = fs.cat_ranges(paths, None, None, on_error="return")
            for name, data in zip(names, found, strict=True):
                if isinstance(data, FileNotFoundError | IsADirectoryError):
                    continue
                if isinstance(data, Exception):
                    raise data
                yield name, data

    def size(self, name: str) -> int:
        """Bytes of a file; 0 where there is none."""
        fs, path = self._at(name)
        with suppress(FileNotFoundError), self.store_errors():
            return fs.size(path) or 0
        return 0

    def sizes(self, names: Sequence[str]) -> list[int]:
        """Bytes of files, 0 where there is none; over a network many are asked for at once."""
        fs, root = self._at("")
        if not isinstance(fs, LocalFileSystem):
            with suppress(FileNotFoundError), self.store_errors():
                return [size or 0 for size in fs.sizes([self._at(name)[1] for name in names])]
            return [self.size(name) for name in names]  # at least one is not there
        return [size_of(f"{root}/{name}") for name in names]

    def make_parents(self, name: str) -> None:
        """Make the folders above a file, on a file system that has any."""
        if path := self.local_path(name):
            make_folders(Path(path).parent)

    def sync(self, name: str) -> None:
        """Return once a file and its name are on the disk; object stores have seen to that."""
        if path := self.local_path(name):
            sync_file(path)
            sync_folder(Path(path).parent)

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders in a folder, sorted; empty if it is not there.

        Files that operating systems leave in any folder are passed over.
        """
        fs, path = self._at(folder)
        found: list[str] = []
        with suppress(FileNotFoundError), self.store_errors():
            found = [p.rstrip("/") for p in fs.ls(path, detail=False)]
        # some stores keep an empty object that stands for the folder
        own = (p.rsplit("/", 1)[-1] for p in found if p != path.rstrip("/"))
        return sorted(name for name in own if not is_system_file(name))

    def stamps(self, folder: str) -> dict[str, str]:
        """Size and time of change of each file in a folder, or what a store has for the latter.

        A file that is written again has another stamp; it is empty where a store says nothing.
        """
        fs, path = self._at(folder)
        found: list[dict[str, Any]] = []
        with suppress(FileNotFoundError, NotADirectoryError), self.store_errors():
            found = files_in(path) if isinstance(fs, LocalFileSystem) else fs.ls(path, detail=True)
        stamps = {}
        for about in found:
            changed = next((about[key] for key in CHANGED if about.get(key)), "")
            name = about["name"].rstrip("/").rsplit("/", 1)[-1]
            stamps[name] = changed and f"{about['size']} {changed}"
        return {name: stamps[name] for name in sorted(stamps) if not is_system_file(name)}

    def below(self, folder: str) -> Iterator[str]:
        """Every file in a folder and in those below it, found as they are asked for."""
        fs, path = self._at(folder)
        with self.store_errors():
            if fs.isfile(path):
                yield path
            for where, _, files in fs.walk(path):
                yield from (f"{where}/{name}" for name in files if not is_system_file(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write piece by piece, in place once the context has ended well."""
        fs, path = self._at(name)
        if isinstance(fs, LocalFileSystem):
            with atomic_path(path) as partial, partial.open("wb") as f:
                yield f
            return
        with tempfile.NamedTemporaryFile() as f:  # fsspec puts its own in place after errors, too
            yield f  # type: ignore[misc]
            f.flush()
            with self.store_errors():
                fs.put_file(f.name, path)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        fs, path = self._at(name)
        with suppress(FileNotFoundError), self.store_errors():
            fs.rm_file(path)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder and all that is in it."""
        fs, path = self._at(name)
        with suppress(FileNotFoundError), self.store_errors():
            fs.rm(path, recursive=True)

    def free_bytes(self) -> int | None:
        """Space left on a local disk; None for object stores."""
        path = self.local_path()
        if path is None:
            return None
        while not os.path.exists(path):
            path = os.path.dirname(path)
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def local_path(self, name: str = "") -> str | None:
        """The path on this machine; None for object stores."""
        fs, path = self._at(name)
        return path if isinstance(fs, LocalFileSystem) else None


def _check_way(path: str) -> None:
    """Refuse a path that is, or lies below, a file or a link to nothing."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.exists(path):
        raise FolderError(
            f"output.path: {path} is a link to {os.readlink(path)}, which is not there; make that "
            "folder, or choose another"
        )
    if not os.path.isdir(path):
        raise FolderError(f"output.path: {path} is a file; give a run's folder")
