"""A page of Neuroglancer, empty at first: a browser opens it while what reads a run is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ddgm.core.errors import DdgmError


class ViewError(DdgmError):
    """A run that cannot be shown as asked."""


def neuroglancer() -> Any:
    """The library of the viewer.

    Raises:
        ViewError: it is not installed.
    """
    try:
        import neuroglancer as library
    except ImportError as error:
        raise ViewError("the viewer needs Neuroglancer: pip install 'ddgm[view]'") from error
    return library


@contextmanager
def empty_page() -> Iterator[Any]:
    """A Neuroglancer viewer, whose page is served while the context lasts.

    Raises:
        ViewError: no viewer is installed.
    """
    library = neuroglancer()
    viewer = library.Viewer()
    try:
        yield viewer
    finally:
        library.stop()
