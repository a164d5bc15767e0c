"""Copies a layer of a run, or a box of one, into a file: a block in memory at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

from ddgm.core.errors import DdgmError
from ddgm.core.files import atomic_path
from ddgm.pipeline.errors import DISK_ERRORS
from ddgm.pipeline.export.formats import ENDINGS, FORMATS, Format, Image
from ddgm.pipeline.spec.layout import LayerLayout, layout_of
from ddgm.pipeline.spec.plan import Block, Plan
from ddgm.pipeline.store.arrays import StoreError
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.coordinates import centre_of

Part = tuple[Block, Box]  # a block, and its voxels that are copied


class ExportError(DdgmError):
    """A layer that cannot be copied as asked."""


def target(layer: str, form: Format | None, output: Path | None) -> tuple[Format, Path]:
    """The format and the file, each of the other where one alone is given.

    Raises:
        ExportError: neither says the format.
    """
    if form is None:
        form = ENDINGS.get(output.suffix.lower()) if output else None
        if form is None:
            raise ExportError(
                f"--output: {output} does not say the format; end it in one of "
                f"{', '.join(ENDINGS)}, or add --format"
                if output
                else f"--format: give one of {', '.join(FORMATS)}, or an --output that ends so"
            )
    return form, output or Path(f"{layer}.{form}")


def export_layer(
    root: str,
    layer: str,
    form: Format,
    path: Path,
    box: Box | None = None,
    *,
    incomplete: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Image:
    """Write a layer of a run into one file, which appears whole or not at all.

    Args:
        root: the run's folder, on a disk or in a store.
        layer: an image of the run.
        form: of the file.
        path: of the file.
        box: the part to write, in voxels of the source; all of the layer if None.
        incomplete: write zeros where no block is done.
        overwrite: replace a file that is there.
        progress: called with the blocks that are copied, and with how many there are.

    Returns:
        Shape, type and place of its voxels.

    Raises:
        DdgmError: no such run or layer, a box outside it or not done, a damaged block, a file that
            is there, or no room for it.
    """
    if path.is_dir() or (path.exists() and not overwrite):
        remedy = "choose another" if path.is_dir() else "choose another, or replace it: --overwrite"
        raise ExportError(f"--output: {path} is there; {remedy}")
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    layout = _image_of(plan, layer)
    box = _checked(plan, box)
    parts = _done(store, plan, manifest["digest"], box)
    if not incomplete:
        _check_whole(root, box, parts)
    info = plan.info
    centre = centre_of(box.start, info.voxel_size_nm, info.origin_nm)
    image = Image(box.shape, layout.dtype, info.voxel_size_nm, centre)
    with atomic_path(path) as partial, FORMATS[form](partial, image) as array:
        _reserve(partial, path)
        for count, (block, part) in enumerate(parts):
            progress(count, len(parts))
            try:
                data = store.arrays.read(plan, layout.layer, block)
            except StoreError as error:
                remedy = f"mend it with `ddgm repair {root}`"
                raise ExportError(f"{root}: {error}; {remedy}", "damage") from error
            array[part.slices(box.start)] = data[part.slices(block.box.start)]
        progress(len(parts), len(parts))
    return image


def _image_of(plan: Plan, layer: str) -> LayerLayout:
    layouts = [layout_of(plan, name) for name in plan.spec.output.layers]
    images = {layout.layer: layout for layout in layouts if layout.image}
    for name, layout in images.items():
        if name == layer:
            return layout
    raise ExportError(f"--layer: the run has no image {layer!r}; choose of {', '.join(images)}")


def _checked(plan: Plan, box: Box | None) -> Box:
    if box is None:
        return plan.region
    if min(box.shape) < 1 or not box.inside(plan.region):
        raise ExportError(
            f"--box: {box} is not a part of what the run covers, {plan.region}; correct it"
        )
    return box


def _done(store: RunStore, plan: Plan, digest: str, box: Box) -> list[Part]:
    """The blocks that are done and have a part in a box, with these parts."""
    parts = {b.index: (b, part) for b in plan.blocks() if (part := b.box.common(box))}
    records = store.ledger.records_at(list(parts))
    done = {r.block for r in records if r.state == "done" and r.digest == digest}
    return [part for index, part in parts.items() if index in done]


def _check_whole(root: str, box: Box, parts: Sequence[Part]) -> None:
    left = prod(box.shape) - sum(prod(part.shape) for _, part in parts)
    if left:
        raise ExportError(
            f"{root}: {left} of {prod(box.shape)} voxels are in blocks that are not done, or in "
            "slabs that were not asked for; run the spec again, choose a --box that is done, or "
            "leave them 0 with --incomplete"
        )


def _reserve(partial: Path, path: Path) -> None:
    """Take the room for all of a file now: a disk that fills up later would kill the process."""
    if not hasattr(os, "posix_fallocate"):  # as on macOS
        return
    size = partial.stat().st_size
    fd = os.open(partial, os.O_RDWR)
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (*DISK_ERRORS, errno.EFBIG):
            raise
        raise ExportError(
            f"--output: no room for the {size} bytes of {path} ({error.strerror}); make room, "
            "choose another disk, or a smaller --box",
            "storage",
        ) from error
    finally:
        os.close(fd)
