"""A calibration: how far from a reconstruction the truth lies, and for which runs that is known."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ddgm.core.errors import DdgmError
from ddgm.core.metrics.conformal import ErrorMap
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.spec.base import StrictModel
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.sealed import DamagedError, seal, unseal

FORMAT = "ddgm-calibration-1"
NOWHERE = {  # in spec.tilts, prior and method: changes no slice, or only the noise in it
    "tilts.seed", "prior.weights", "prior.sha256", "prior.any_voxel_size", "prior.batch",
    "prior.restorer",
    "method.seed",
}  # fmt: skip
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CalibrationError(DdgmError):
    """A calibration that cannot be used, or not for this spec."""


class Slices(StrictModel):
    """The numbers of slices that a calibration was made of.

    Attributes:
        learnt: from which the map was learnt.
        scaled: others, by which it was scaled.
        needed: fewest that the rate needs to be scaled.
    """

    learnt: int
    scaled: int
    needed: int


class Calibration(StrictModel):
    """A file of `ddgm calibrate`, which a spec names.

    Attributes:
        format: of the file.
        rate: share of pixels whose truth is to lie within x ± scale · map.
        scale: of the map, by conformal risk control.
        map: the expected error of a pixel.
        slices: that it was made of.
        conditions: by key, what a run must have in common with the one that it was made of.
        data: the truth that it was made of, with digests.
        made: when, and by which version.
    """

    format: Literal["ddgm-calibration-1"] = FORMAT
    rate: Annotated[float, Field(gt=0, lt=1)]
    scale: Number
    map: ErrorMap
    slices: Slices
    conditions: dict[str, Any]
    data: dict[str, Any]
    made: dict[str, str]

    def check(self, name: str, conditions: Mapping[str, Any]) -> None:
        """Refuse a run under other conditions.

        Args:
            name: the file, for the message.
            conditions: the run's.

        Raises:
            CalibrationError: they differ, with both values.
        """
        for key in dict.fromkeys((*conditions, *self.conditions)):
            theirs, ours = (json.dumps(c.get(key)) for c in (self.conditions, conditions))
            if theirs != ours:
                raise CalibrationError(
                    f"calibration: {name} was made with {key} {theirs:.80}, and here it is "
                    f"{ours:.80}; calibrate with these settings, or leave the calibration out"
                )


def conditions_of(plan: Plan, weights: str) -> dict[str, Any]:
    """The settings that intervals depend on, by key: geometry, noise, prior and method.

    Args:
        plan: of a run.
        weights: digest of its prior.
    """
    spec, grey = plan.spec, grey_scale(plan)
    parts = spec.model_dump(mode="json", include={"tilts", "prior", "method"})
    same = {f"{part}.{key}": value for part, keys in parts.items() for key, value in keys.items()}
    found = {
        "slab.thickness": plan.geometry.thickness,
        "slab.width": plan.geometry.width,
        "voxel size, nm": [round(plan.info.voxel_size_nm[axis], 6) for axis in plan.axes],
        **{key: value for key, value in same.items() if key not in NOWHERE},
        "prior.weights": f"SHA-256 {weights}",
        "source.intensity": {"mean": grey.mean, "std": grey.std},
    }
    if spec.method.couples_slices:
        found["block.halo"] = spec.halo
    return found


def whole_name(url: str) -> str:
    """A calibration's URL, or its path on this machine from the root on."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def load_calibration(url: str) -> Calibration:
    """Read a calibration from its file, on a disk or in a store.

    Raises:
        CalibrationError: there is none, or it is not as ddgm wrote it.
    """
    folder, _, name = whole_name(url).rpartition("/")
    data = Folder(folder or "/").read(name)
    remedy = "make it with `ddgm calibrate`"
    if data is None:
        raise CalibrationError(f"calibration: {url} is not there; {remedy}")
    try:
        return parsed(json.dumps(unseal(data)))
    except (DamagedError, ValidationError) as error:
        why = error if isinstance(error, DamagedError) else "it is another version's"
        raise CalibrationError(f"calibration: {url} cannot be used: {why}; {remedy}") from error


def sealed(calibration: Calibration) -> bytes:
    """The bytes of a calibration's file, under a checksum."""
    return seal(calibration.model_dump(mode="json"), indent=2)


@lru_cache(maxsize=8)
def parsed(text: str) -> Calibration:
    """A calibration from its JSON text; made once in each process."""
    return Calibration.model_validate_json(text, strict=True)
