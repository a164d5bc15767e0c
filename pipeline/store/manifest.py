"""Before any block: reads what the run depends on, checks it, and writes it down."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ddgm.core.errors import DdgmError
from ddgm.core.networks.prior import Prior, card_of
from ddgm.pipeline.spec import model
from ddgm.pipeline.spec.levels import Pyramid
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.opened import tilt_series
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.volumes.series.views import read_remarks
from ddgm.pipeline.volumes.volume import VolumeInfo

PACKAGES = (
    "astra-toolbox", "cloud-volume", "dask", "ddgm", "distributed", "numpy", "scipy", "torch",
    "zarr",
)  # fmt: skip


def describe(plan: Plan, prior: Prior, code: str, calibration: str | None = None) -> dict[str, Any]:
    """The contents of run.json: all that the result depends on, and with what it was made."""
    given = {} if calibration is None else {"intervals": json.loads(calibration)}
    widths = {key: content[key] for content in given.values() for key in ("scale", "map")}
    info = plan.info.fields()
    digest = plan.spec.results_digest(source=info, code=code, weights=prior.digest, **widths)
    return {
        "digest": digest,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": plan.spec.model_dump(mode="json"),
        "source": info,
        "geometry": plan.geometry.fields(),
        "weights": {"sha256": prior.digest, "card": asdict(prior.card)},
        "code": code,
        **given,
        **_views_of(plan),
        "versions": {"python": platform.python_version(), **_versions()},
        "blocks": plan.block_count,
        "slices": plan.slice_count,
        "levels": Pyramid(plan).levels[-1].number,
    }


def _views_of(plan: Plan) -> dict[str, Any]:
    """The table of a measured series, by the number of each view, and its remarks."""
    if not plan.is_measured:
        return {}
    series = tilt_series(plan.spec)
    views = {str(view.view): asdict(view) for view in series.table}
    return {"views": views, "remarks": list(read_remarks(Path(series.views)))}


class ManifestError(DdgmError):
    """A run.json of another version, or one that was edited."""


DECIDING = (
    "spec",
    "source",
    "weights",
    "code",
    "intervals",
    "views",
)  # parts of a run.json that its digest is of
NOT_DECIDING = (
    *model.NOT_DECIDING, "output.path", "output.also", "prior.weights", "prior.sha256",
    "prior.any_voxel_size", "prior.restorer is", "source.views_sha256",
)  # fmt: skip
NAMED = 6  # keys in a message


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """The keys whose values make two run.json describe different results, each with both values."""
    found = []
    for part in DECIDING:
        found += _differing(part, theirs.get(part), ours.get(part))
    names = [
        name
        for name in (line.removeprefix("spec.") for line in found)
        if not name.startswith(NOT_DECIDING)
    ]
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return names[:NAMED] + more or ["its digest is another"]


def _differing(key: str, theirs: Any, ours: Any) -> list[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = dict.fromkeys((*ours, *theirs))
        return [line for k in keys for line in _differing(f"{key}.{k}", theirs.get(k), ours.get(k))]
    # what run.json holds has been through JSON: tuples are lists there
    theirs, ours = (json.dumps(value) for value in (theirs, ours))
    return [] if theirs == ours else [f"{key} is {theirs:.40} there and {ours:.40} here"]


class _Weights(BaseModel):
    sha256: str
    card: dict[str, Any]


class _Manifest(BaseModel):
    digest: str
    created: str
    spec: dict[str, Any]
    source: dict[str, Any]
    geometry: dict[str, Any]
    weights: _Weights
    code: str
    versions: dict[str, str]
    blocks: int
    slices: int
    levels: Annotated[int, Field(ge=0)] = 0


def plan_of(manifest: Mapping[str, Any]) -> Plan:
    """The plan that a run.json was made from.

    Raises:
        ManifestError: this version of ddgm can't read it.
    """
    try:
        found = _Manifest.model_validate(dict(manifest), strict=True)
        spec = Spec.model_validate_json(json.dumps(found.spec), strict=True)
        info = TypeAdapter(VolumeInfo).validate_json(json.dumps(found.source), strict=True)
        datetime.fromisoformat(found.created)
        card_of(found.weights.card)
        plan = Plan(spec, info)
        if (plan.block_count, plan.slice_count) == (found.blocks, found.slices):
            return plan
        fault = f"it names {found.blocks} blocks, and its spec makes {plan.block_count}"
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    except (DdgmError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        fault = " ".join(str(error).split())
    versions = manifest.get("versions")
    theirs = str(versions.get("ddgm")) if isinstance(versions, dict) else "another version"
    raise ManifestError(
        f"run.json is not as ddgm {version('ddgm')} writes it ({fault:.300}); it was written by "
        f"ddgm {theirs:.40}: use that version, or run the spec into another folder"
    )


def levels_of(manifest: Mapping[str, Any]) -> int:
    """The number of coarser levels of a run: none where its run.json does not say so."""
    return int(manifest.get("levels", 0))


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
