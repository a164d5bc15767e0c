"""The key `tilts` of a spec: the simulated tilt series, and what is held out of any."""

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


def held_out(views: int, every: int) -> tuple[int, ...]:
    """Numbers of the views that are held out where every nth is, by their angles.

    Raises:
        ValueError: none would be, or too few would be left.
    """
    out = held_out_views(views, every)
    if views - len(out) < 2:
        raise ValueError(
            f"tilts.hold_out: {every} leaves {views - len(out)} of {views} views to reconstruct "
            "from; give a larger number, such as 8, or leave it out"
        )
    if not out:
        raise ValueError(
            f"tilts.hold_out: {every} holds out none of {views} views; give a smaller number, or "
            "leave it out"
        )
    return out
