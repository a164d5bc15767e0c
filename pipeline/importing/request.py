"""The request that `ddgm import` is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ddgm.pipeline.importing.beside import Beside, series_name
from ddgm.pipeline.importing.text_files import ImportFault
from ddgm.pipeline.volumes.series.tilt_series import Signal

Stain = Literal["dark", "bright"]


@dataclass(frozen=True)
class Request:
    """A stack, and what its files do not say.

    Attributes:
        stack: MRC, or an array of axes view, row, column.
        given: files that were named.
        axis: the tilt axis's angle from the columns, counterclockwise, in degrees.
        exclude: views that are left out, from 0.
        binning: raw pixels to a voxel.
        thickness: of the slab, in voxels.
        voxel_size_nm: of a voxel.
        signal: linear, or transmitted intensities; None: transmitted if IMOD took a logarithm.
        stain: how stained tissue looks in the stack.
        method: that the spec names.
        out: the spec to write; None: beside the stack, by its name.
    """

    stack: Path
    given: Beside = field(default_factory=Beside)
    axis: float | None = None
    exclude: Sequence[int] = ()
    binning: int | None = None
    thickness: int | None = None
    voxel_size_nm: float | None = None
    signal: Signal | None = None
    stain: Stain = "dark"
    method: str = "ddx"
    out: Path | None = None

    @property
    def spec(self) -> Path:
        """The spec to write."""
        return self.out or self.stack.with_name(f"{series_name(self.stack)}.yaml")

    @property
    def table(self) -> Path:
        """The table of views to write."""
        return self.spec.with_name(f"{self.spec.stem}-views.csv")

    def check(self) -> None:
        """Refuse to replace anything.

        Raises:
            ImportFault: a file that would be written is there.
        """
        for path in (self.spec, self.table):
            if path.exists():
                raise ImportFault(f"{path} is there already; move it away, or choose --out SPEC")
