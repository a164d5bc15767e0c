"""The plan of a run: slabs and blocks, pure functions of spec and volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ddgm.core.geometry import TiltGeometry
from ddgm.core.simulation.noise import SliceOrigin
from ddgm.pipeline.spec import measured
from ddgm.pipeline.spec.base import PlanError as PlanError  # others take it from here
from ddgm.pipeline.spec.base import nearly_equal
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.opened import source_info
from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.volume import VolumeInfo

AXES = "zyx"


@dataclass(frozen=True)
class Block:
    """A run of slices of one slab: the unit of work and of writing.

    Attributes:
        index: position among all blocks of the box; names the block in ledger and reports.
        slab: the slab's number.
        box: its voxels in the volume.
        first: its first slice, counted from the box's start along the tilt axis.
        origins: of its slices in the volume, for their noise.
        before, after: its halo: neighbours that are reconstructed with it and are not written.
    """

    index: int
    slab: int
    box: Box
    first: int
    origins: tuple[SliceOrigin, ...]
    before: tuple[SliceOrigin, ...] = ()
    after: tuple[SliceOrigin, ...] = ()

    @property
    def stack(self) -> tuple[SliceOrigin, ...]:
        """Origins of all slices that are reconstructed: its own, between those of its halo."""
        return (*self.before, *self.origins, *self.after)

    @property
    def own(self) -> slice:
        """Its own slices in the stack."""
        return slice(len(self.before), len(self.before) + len(self.origins))


@dataclass(frozen=True)
class Plan:
    """A spec on its volume: its slabs, and every block by its index."""

    spec: Spec
    info: VolumeInfo

    @cached_property
    def axes(self) -> tuple[int, int, int]:
        """Positions of tilt, thickness and width axis in (z, y, x): a slice stack's axes."""
        s = self.spec.slab
        t, h, w = (AXES.index(a) for a in (s.tilt_axis, s.thickness_axis, s.width_axis))
        return t, h, w

    @cached_property
    def box(self) -> Box:
        """The voxels that the spec asks for."""
        b = self.spec.source.box
        if b is None:
            return self.info.bounds
        (z0, z1), (y0, y1), (x0, x1) = b["z"], b["y"], b["x"]
        return Box((z0, y0, x0), (z1, y1, x1))

    @cached_property
    def geometry(self) -> TiltGeometry:
        """Tilt geometry of every slice, with all its views."""
        s, t = self.spec.slab, self.spec.tilts
        width = s.width or self.box.shape[self.axes[2]]
        if self.info.views is None:
            uniform = t.count, t.range, t.detector, self.aspect
            return TiltGeometry.uniform(s.thickness, width, *uniform)
        return measured.geometry(s.thickness, width, self.info.views, t.noise)

    @cached_property
    def solved(self) -> TiltGeometry:
        """Tilt geometry of slices as they are solved: with margins, of a measured series.

        Tissue goes on beyond the field, and steep views see it through the field's data.
        """
        if self.info.views is None:
            return self.geometry
        g = self.geometry
        wide = g.width + 2 * g.reach
        return measured.geometry(g.thickness, wide, self.info.views, self.spec.tilts.noise)

    @property
    def is_measured(self) -> bool:
        """True of a measured tilt series, of which no truth is known."""
        return self.info.views is not None

    @cached_property
    def held_out(self) -> tuple[int, ...]:
        """Numbers of the views that are held out."""
        every = self.spec.tilts.hold_out
        return measured.held_out_by_angle(self.geometry.angles, every) if every else ()

    @cached_property
    def kept(self) -> TiltGeometry:
        """`solved`, of the views that reconstruct: all that are not held out."""
        views = range(self.solved.views)
        return self.solved.of_views([i for i in views if i not in self.held_out])

    @property
    def sides_nm(self) -> tuple[float, float]:
        """A slice's pixel in nanometres, along the thickness and along the width."""
        _, h, w = self.axes
        return self.info.voxel_size_nm[h], self.info.voxel_size_nm[w]

    @property
    def aspect(self) -> float:
        """Ratio of the two; sizes that differ by their rounding alone make squares."""
        return float(f"{self.sides_nm[0] / self.sides_nm[1]:.6g}")

    @property
    def network_sides_nm(self) -> dict[str, float]:
        """Sides of the voxels in the planes that the network sees, in nanometres, by axis name."""
        t, h, w = self.axes
        axes = (h, w, t) if self.spec.method.couples_slices else (h, w)
        return {AXES[axis]: self.info.voxel_size_nm[axis] for axis in axes}

    @property
    def refuses_prior(self) -> bool:
        """True if a prior, trained on squares, would see other pixels without the spec's word."""
        spec, square = self.spec, nearly_equal(list(self.network_sides_nm.values()))
        return not square and spec.method.evaluations > 0 and not spec.prior.any_voxel_size

    @property
    def slices(self) -> int:
        """Slices of each slab."""
        return self.box.shape[self.axes[0]]

    @property
    def grid(self) -> tuple[int, int]:
        """Slabs that fit into the box along its thickness and along its width."""
        _, h, w = self.axes
        g = self.geometry
        return self.box.shape[h] // g.thickness, self.box.shape[w] // g.width

    @cached_property
    def slabs(self) -> tuple[int, ...]:
        """Numbers of the slabs that are reconstructed."""
        chosen = self.spec.slab.slabs
        return tuple(range(self.grid[0] * self.grid[1])) if chosen == "all" else chosen

    @property
    def region(self) -> Box:
        """The part of the box that the slabs cover: what the output's arrays hold."""
        return self._crop(0, self.grid[0], 0, self.grid[1], 0, self.slices)

    @property
    def uncovered(self) -> dict[str, int]:
        """Voxels along an axis that no slab covers, by axis name."""
        rest = zip(AXES, self.box.shape, self.region.shape, strict=True)
        return {axis: whole - covered for axis, whole, covered in rest if covered < whole}

    @property
    def blocks_per_slab(self) -> int:
        """Blocks along the tilt axis; the last may be shorter."""
        return -(-self.slices // self.spec.block.slices)

    @property
    def block_count(self) -> int:
        """Blocks of the whole run."""
        return self.blocks_per_slab * len(self.slabs)

    @property
    def slice_count(self) -> int:
        """Slices of the whole run."""
        return self.slices * len(self.slabs)

    @property
    def halo(self) -> int:
        """Slices that a block reconstructs beside its own on either side, where there are any."""
        return self.spec.halo

    @property
    def block_slices(self) -> int:
        """Slices that are reconstructed for a full block, with its halo."""
        return min(self.spec.block.slices + 2 * self.halo, self.slices)

    @property
    def shortest_stack(self) -> int:
        """Slices that are reconstructed together for the shortest block, with what halo it has."""
        ends = self.block(0), self.block(self.blocks_per_slab - 1)
        return min(len(block.stack) for block in ends)

    def block(self, index: int) -> Block:
        """The block of an index from 0 to `block_count` - 1."""
        position, along = divmod(index, self.blocks_per_slab)
        slab, first = self.slabs[position], along * self.spec.block.slices
        i, j = divmod(slab, self.grid[1])
        last = min(first + self.spec.block.slices, self.slices)
        box = self._crop(i, i + 1, j, j + 1, first, last)
        t, h, w = self.axes

        def origins(start: int, stop: int) -> tuple[SliceOrigin, ...]:
            return tuple((box.start[h], box.start[w], p) for p in range(start, stop))

        begin, end = self.box.start[t], self.box.stop[t]
        before = origins(max(begin, box.start[t] - self.halo), box.start[t])
        after = origins(box.stop[t], min(end, box.stop[t] + self.halo))
        own = origins(box.start[t], box.stop[t])
        return Block(index, slab, box, first, own, before, after)

    def reads(self, block: Block) -> tuple[Box, ...]:
        """The boxes that are read for a block, in their order: what there is of its halo, and it.

        They are read one by one: a block counts what its own voxels lack, and no neighbour's.
        """
        axis = self.axes[0]
        start, stop = block.box.start[axis], block.box.stop[axis]
        edges = (start - len(block.before), start, stop, stop + len(block.after))
        spans = [span for span in pairwise(edges) if span[0] < span[1]]
        return tuple(block.box.between(axis, *span) for span in spans)

    def blocks(self) -> Iterator[Block]:
        """All blocks, one at a time: a plan of a million of them costs nothing."""
        return (self.block(i) for i in range(self.block_count))

    @property
    def shard(self) -> Triple:
        """A full block's voxels (z, y, x): the unit that one task, and no other, writes."""
        t, h, w = self.axes
        sizes = {t: self.spec.block.slices, h: self.geometry.thickness, w: self.geometry.width}
        return sizes[0], sizes[1], sizes[2]

    def _crop(self, i0: int, i1: int, j0: int, j1: int, first: int, last: int) -> Box:
        """The box of slabs i0 to i1 along the thickness and j0 to j1 along the width."""
        g = self.geometry
        t, h, w = self.axes
        spans = {
            t: (first, last),
            h: (i0 * g.thickness, i1 * g.thickness),
            w: (j0 * g.width, j1 * g.width),
        }
        start, stop = (tuple(self.box.start[a] + spans[a][end] for a in range(3)) for end in (0, 1))
        return Box(start, stop)  # type: ignore[arg-type]


def make_plan(spec: Spec, info: VolumeInfo | None = None) -> Plan:
    """The plan of a spec on its volume, which is asked for its shape unless `info` says it.

    Raises:
        SourceError: the volume cannot be read.
        PlanError: a box outside the volume, no room for a slab, a slab that is not there, grey
            levels that would be clipped.
    """
    info = info or source_info(spec)
    plan = Plan(spec, info)
    if not plan.box.inside(info.bounds):
        raise PlanError(
            f"source.box: {plan.box} is not inside the volume at mip {info.mip}, "
            f"{info.bounds}; correct the box or the mip"
        )
    if plan.is_measured:
        measured.check_cut(plan.box, info.bounds)
        _ = plan.held_out
    elif info.dtype != "uint8" and (spec.source.intensity is None or spec.output.dtype == "uint8"):
        raise PlanError(
            f"source.intensity, output.dtype: the volume is {info.dtype}; say which mean and std "
            "normalise it, and write float32, since uint8 cannot hold its grey levels"
        )
    _, h, w = plan.axes
    for name, axis, size in (
        ("thickness", h, spec.slab.thickness),
        ("width", w, plan.geometry.width),
    ):
        if plan.box.shape[axis] < size:
            raise PlanError(
                f"slab.{name}: {size} is more than the box's {plan.box.shape[axis]} voxels "
                f"along {AXES[axis]}; make it smaller or the box larger"
            )
    if plan.geometry.width < 11:
        raise PlanError(f"slab.width: {plan.geometry.width} is below 11; widen the box")
    there = plan.grid[0] * plan.grid[1]
    if wrong := [s for s in plan.slabs if not 0 <= s < there]:
        raise PlanError(f"slab.slabs: there is no slab {wrong[0]}; the box has 0 to {there - 1}")
    if len(set(plan.slabs)) != len(plan.slabs) or not plan.slabs:
        raise PlanError(
            f"slab.slabs: {list(plan.slabs)} must name each slab once, and one at least"
        )
    return plan
