"""The key `tilts` of a spec: the simulated tilt series."""

from __future__ import annotations

from pydantic import Field, model_validator

from ddgm.core import paper
from ddgm.core.geometry import Detector, held_out_views
from ddgm.core.simulation.acquisition import Acquisition
from ddgm.pipeline.spec.base import Seed, StrictModel


class Tilts(StrictModel):
    """The simulated tilt series, y = Ax + σ_y ε (Eq. 3)."""

    count: int = Field(
        default=paper.VIEWS, ge=1, le=10_000, description="views, evenly spaced, both ends included"
    )
    range: tuple[float, float] = Field(default=paper.TILT_RANGE, description="degrees")
    detector: Detector = Field(default="lateral", description="see docs/architecture.md")
    projector: str | None = Field(
        default=None,
        description="fourier, matrix or another package's; default: the detector's fastest",
    )
    noise: float = Field(
        default=paper.TILT_NOISE,
        ge=0,
        le=1e6,
        description="σ_y; 4.1 gives the paper's ratio of 10 to 1",
    )
    seed: Seed = 0
    simulate: Acquisition | None = Field(
        default=None,
        description="how the views are made where it is not with the projector that reconstructs "
        "them: another kernel, views that are misaligned, electrons that are counted",
    )
    hold_out: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="every nth view is left out of the reconstruction, which is scored by how well "
        "it predicts them",
    )

    @property
    def held_out(self) -> tuple[int, ...]:
        """Numbers of the views that are held out."""
        return held_out_views(self.count, self.hold_out) if self.hold_out else ()

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the views that reconstruct."""
        return tuple(sorted({*range(self.count)} - {*self.held_out}))

    @model_validator(mode="after")
    def _some_views_are_held_out_and_some_kept(self) -> Tilts:
        if self.hold_out and len(self.kept) < 2:
            raise ValueError(
                f"hold_out: {self.hold_out} leaves {len(self.kept)} of {self.count} views to "
                "reconstruct from; give a larger number, such as 8, or leave it out"
            )
        if self.hold_out and not self.held_out:
            raise ValueError(
                f"hold_out: {self.hold_out} holds out none of {self.count} views; give a smaller "
                "number, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _range_is_a_tilt(self) -> Tilts:
        low, high = self.range
        if self.count == 1 and low < high:
            raise ValueError(
                f"range: {list(self.range)} has two ends, and one view has one angle; give it as "
                f"range: [{low:g}, {low:g}], or count: 2 and more"
            )
        if not -85 <= low <= high <= 85 or (low == high and self.count > 1):
            raise ValueError(f"range: {list(self.range)} must rise and lie within -85 and 85")
        return self
