"""A run's page in Neuroglancer, for as long as it is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ddgm.core.files import atomic_write
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.arrays import VOLUME
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.view.browser import picture
from ddgm.pipeline.view.page import ViewError, empty_page, neuroglancer
from ddgm.pipeline.view.scene import PANELS, Scene
from ddgm.pipeline.view.server import serving
from ddgm.pipeline.volumes.zarr_volume import cloud_url, is_zarr

PUBLIC = ("http://", "https://", "s3://", "gs://")
SIZE = (1800, 1000)  # pixels of a screenshot


@contextmanager
def viewing(root: str) -> Iterator[Any]:
    """A Neuroglancer viewer that shows a run; pages and voxels are served while it lasts.

    Args:
        root: the run's folder, on a disk or in a store.

    Raises:
        DdgmError: there is no run there, or no viewer is installed.
    """
    with empty_page() as viewer, showing(root, viewer):
        yield viewer


@contextmanager
def showing(root: str, viewer: Any) -> Iterator[None]:
    """Show a run in a viewer; its voxels are served while the context lasts.

    Raises:
        DdgmError: there is no run there.
    """
    manifest = RunStore(root).manifest()
    spec = plan_of(manifest).spec
    place, kind = source_of(spec)
    folders, local = {"run": Folder(root)}, place.removeprefix("file://")
    if os.path.isdir(local):
        folders["source"] = Folder(local)
    with serving(folders) as base:
        layers = layers_of(spec, f"{base}/run")
        if "source" in folders:
            layers["source"] = f"{base}/source/{kind}"
        elif place.startswith(PUBLIC):
            layers["source"] = f"{place.rstrip('/')}/{kind}"
        viewer.set_state(Scene(root, manifest, layers).state())
        yield


def link_of(root: str) -> str:
    """A link to Neuroglancer's public page that shows a run, which must lie where all can read.

    Raises:
        DdgmError: it lies on this machine's disk, there is no run, or no viewer is installed.
    """
    library = neuroglancer()
    if not root.startswith(PUBLIC):
        raise ViewError(
            f"--link: {root} is on this machine's disk, where a public page cannot read it; copy "
            "it to http, s3 or gs, or leave --link out"
        )
    manifest = RunStore(root).manifest()
    spec = plan_of(manifest).spec
    layers = layers_of(spec, root.rstrip("/"))
    place, kind = source_of(spec)
    if place.startswith(PUBLIC):
        layers["source"] = f"{place.rstrip('/')}/{kind}"
    return library.to_url(Scene(root, manifest, layers).state())


def write_picture(viewer: Any, path: Path) -> None:
    """Write what a viewer, whose page is open in a browser, shows as a PNG.

    Raises:
        DdgmError: the browser does not come to an end.
    """
    with viewer.txn() as state:
        state.selected_layer.visible = False  # the list of places beside the panels
    atomic_write(path, picture(viewer, SIZE).image)


def layers_of(spec: Spec, base: str) -> dict[str, str]:
    """The images of a run by name, each with Neuroglancer's URL for it below `base`."""
    shown = [name for name in PANELS if name in spec.output.layers]
    return {name: f"{base}/{VOLUME}/{name}/|zarr3:" for name in shown}


def source_of(spec: Spec) -> tuple[str, str]:
    """The place of a run's source, and what names its format to Neuroglancer; "" for others."""
    url = spec.source.url
    if url is None:  # a tilt series, which is no volume
        return "", ""
    if is_zarr(url):
        place, version = cloud_url(url)
        return place, f"|zarr{version or ''}:"
    scheme, found, rest = url.partition("://")
    if found and scheme == "precomputed":
        url = rest
    elif found and scheme not in ("file", "http", "https", "s3", "gs"):
        return "", ""
    return url if "://" in url else f"file://{url}", "|neuroglancer-precomputed:"
