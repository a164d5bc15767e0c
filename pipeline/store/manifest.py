"""Before any block: reads what the run depends on, checks it, and writes it down."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ddgm.core.networks.prior import Prior
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo

PACKAGES = (
    "astra-toolbox", "cloud-volume", "dask", "ddgm", "distributed", "numpy", "scipy", "torch",
    "torchmetrics", "zarr",
)  # fmt: skip


def describe(plan: Plan, prior: Prior, code: str) -> dict[str, Any]:
    """The contents of run.json: all that the result depends on, and with what it was made."""
    info = asdict(plan.info)
    digest = plan.spec.results_digest(source=info, code=code, weights=prior.digest)
    return {
        "digest": digest,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": plan.spec.model_dump(mode="json"),
        "source": info,
        "geometry": asdict(plan.geometry),
        "weights": {"sha256": prior.digest, "card": asdict(prior.card)},
        "code": code,
        "versions": {"python": platform.python_version(), **_versions()},
        "blocks": plan.block_count,
        "slices": plan.slice_count,
    }


def plan_of(manifest: Mapping[str, Any]) -> Plan:
    """The plan that a run.json was made from."""
    source = dict(manifest["source"])
    corners = source.pop("bounds")
    bounds = Box(tuple(corners["start"]), tuple(corners["stop"]))
    for name in {"voxel_size_nm", "chunk_shape", "origin_nm"} & source.keys():
        source[name] = tuple(source[name])
    return Plan(Spec.model_validate(manifest["spec"]), VolumeInfo(bounds=bounds, **source))


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
