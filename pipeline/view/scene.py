"""A run as Neuroglancer shows it: layers, panels that move together, and places to go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from ddgm.core.intensity import Intensity
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import ERRORS
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.index import LedgerIndex
from ddgm.pipeline.store.tables.statistics import RunStatistics
from ddgm.pipeline.volumes.box import Box

PANELS = (
    "reconstruction", "truth", "algebraic", "spread", "measured", "invented", "contradicted",
    "low", "high", "source",
)  # fmt: skip
TINTS = {"spread": "#ff9020", "measured": "#40a0ff"}
WORST, FAILED = "worst slices", "failed blocks"
STDS = 2  # of the grey levels on either side of their mean
WINDOW = 1500, 800  # pixels of a browser: what panels are laid out for
FILLED = 0.9  # of a panel, by its slice
SHADER = """#uicontrol invlerp normalized
#uicontrol vec3 tint color(default="white")
void main() { emitRGB(tint * normalized()); }
"""


@dataclass(frozen=True)
class Scene:
    """A run as Neuroglancer's state.

    Attributes:
        root: the run's folder.
        manifest: its run.json.
        layers: Neuroglancer's URLs of what there is to see, by name.
    """

    root: str
    manifest: Mapping[str, Any]
    layers: Mapping[str, str]

    @cached_property
    def store(self) -> RunStore:
        """The run's files."""
        return RunStore(self.root)

    @cached_property
    def plan(self) -> Plan:
        """The run's spec on its volume."""
        return plan_of(self.manifest)

    @cached_property
    def statistics(self) -> RunStatistics:
        """Statistics of the ledger, with the worst slices and the blocks that failed."""
        blocks = self.plan.block_count
        return RunStatistics.of(
            LedgerIndex(self.store.folder, self.manifest["digest"], blocks).ended()
        )

    def state(self) -> Any:
        """Neuroglancer's state: it shows the slice that fits its data worst, or the middle."""
        import neuroglancer as ng

        state = ng.ViewerState()
        sides = self.plan.info.voxel_size_nm[::-1]
        space = ng.CoordinateSpace(names="xyz", units="nm", scales=sides)
        state.dimensions = space
        for name, url in self.layers.items():
            controls = {"normalized": {"range": self._window(name)}}
            tint = {"tint": TINTS[name]} if name in TINTS else {}
            state.layers[name] = ng.ImageLayer(
                source=url, shader=SHADER, shader_controls=controls | tint
            )
        marked = self._mark(state, space)
        state.position = self._position()
        names = [name for name in PANELS if name in self.layers]
        columns, across = self._arrangement(len(names))
        state.cross_section_scale = self._width() / across
        state.cross_section_orientation = self._orientation()
        state.title = f"ddgm {self.root}"
        state.cross_section_background_color = "black"
        state.show_axis_lines = state.show_default_annotations = False
        panels = [ng.LayerGroupViewer(layers=[name, *marked], layout="xy") for name in names]
        rows = [panels[k : k + columns] for k in range(0, len(panels), columns)]
        state.layout = ng.column_layout([ng.row_layout(row) for row in rows])
        return state

    def _mark(self, state: Any, space: Any) -> list[str]:
        """Add the places to go to; returns the names of their layers."""
        import neuroglancer as ng

        worst = [
            ng.PointAnnotation(
                id=f"slice-{block}-{number}",
                point=self._place(self._slice(block, number), middle=True),
                description=f"slice {number}, block {block}: data residual {residual:.4g}",
            )
            for residual, number, block in sorted(self.statistics.worst, reverse=True)
        ]
        failed = []
        for record in self.statistics.failures:
            box = self.plan.block(record.block).box
            failed.append(
                ng.AxisAlignedBoundingBoxAnnotation(
                    id=f"block-{record.block}",
                    point_a=self._place(box),
                    point_b=self._place(Box(box.stop, box.stop)),
                    description=f"block {record.block}: {record.cause}",
                )
            )
        found = {WORST: ("#ffff00", worst), FAILED: ("#ff0000", failed)}
        for name, (colour, marks) in found.items():
            if marks:
                state.layers[name] = ng.LocalAnnotationLayer(
                    dimensions=space, annotations=marks, annotation_color=colour
                )
        shown = [name for name, (_, marks) in found.items() if marks]
        if shown:
            state.selected_layer.layer = shown[-1]
            state.selected_layer.visible = True
        return shown

    def _slice(self, block: int, number: int) -> Box:
        """The box of one slice of a block."""
        return self.plan.block(block).box.between(self.plan.axes[0], number, number + 1)

    def _position(self) -> list[float]:
        if self.statistics.worst:
            _, number, block = max(self.statistics.worst)
            return self._place(self._slice(block, number), middle=True)
        return self._place(self.plan.region, middle=True)

    def _place(self, box: Box, middle: bool = False) -> list[float]:
        """A box's first corner, or its middle, in voxels from the origin of space; x, y, z."""
        info = self.plan.info
        ends = zip(box.start, box.stop if middle else box.start, strict=True)
        voxels = [(a + b) / 2 for a, b in ends]
        sides = zip(voxels, info.voxel_size_nm, info.origin_nm, strict=True)
        return [(origin + voxel * side) / side for voxel, side, origin in sides][::-1]

    def _orientation(self) -> list[float]:
        """A rotation, as a quaternion, that lays the width to the right and the thickness down."""
        _, down, right = (np.eye(3)[2 - axis] for axis in self.plan.axes)
        turned = np.stack([right, down, np.cross(right, down)], axis=1)
        return Rotation.from_matrix(turned).as_quat().tolist()

    def _width(self) -> float:
        """A slice's width in voxels of the smallest side, which are Neuroglancer's unit."""
        g, sides = self.plan.geometry, self.plan.sides_nm
        return g.width * sides[1] / min(self.plan.info.voxel_size_nm)

    def _arrangement(self, panels: int) -> tuple[int, float]:
        """Columns of panels that show a slice largest, and the pixels that it is wide there."""
        g, sides = self.plan.geometry, self.plan.sides_nm
        proportions = g.width * sides[1] / (g.thickness * sides[0])

        def across(columns: int) -> float:
            rows = -(-panels // columns)
            return FILLED * min(WINDOW[0] / columns, WINDOW[1] / rows * proportions)

        best = max(range(1, panels + 1), key=across)
        return best, across(best)

    def _window(self, name: str) -> Sequence[float]:
        """The values that are black and white."""
        if name == "measured":
            return self._measured_window()
        if name == "spread":
            return self._spread_window()
        card = self.manifest["weights"]["card"]
        normal = self.plan.spec.source.intensity or Intensity(card["mean"], card["std"])
        if name in ERRORS:
            return [-float(normal.std), float(normal.std)]
        low, high = normal.mean - STDS * normal.std, normal.mean + STDS * normal.std
        kind = np.dtype(self.plan.info.dtype)
        if kind.kind in "iu":
            low, high = max(low, np.iinfo(kind).min), min(high, np.iinfo(kind).max)
        return [float(low), float(high)]

    def _measured_window(self) -> Sequence[float]:
        kind = self.store.arrays.array("measured").dtype
        return [0.0, 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)]

    def _spread_window(self) -> Sequence[float]:
        """From 0 to what all but a hundredth of the slice that is shown are below."""
        if not self.statistics.worst:
            return [0.0, 1.0]
        _, number, index = max(self.statistics.worst)
        block, layer = self.plan.block(index), layout_of(self.plan, "spread")
        place = layer.slice_index(block, number - block.box.start[self.plan.axes[0]])
        try:
            seen = np.asarray(self.store.arrays.array("spread")[place])
        except (ValueError, RuntimeError, OSError):  # a damaged shard is for `ddgm verify`
            return [0.0, 1.0]
        return [0.0, float(np.percentile(seen, 99)) or 1.0]
