"""Before any block: reads what the run depends on, checks it, and writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddgm.core.device import default_device
from ddgm.core.errors import DdgmError
from ddgm.core.networks import gpu
from ddgm.core.networks.prior import Prior, PriorCard, PriorError, read_card, settled
from ddgm.core.networks.restorer import settled_restorer
from ddgm.core.projectors import Spectral
from ddgm.core.projectors.spectral import check_basis
from ddgm.pipeline.block.calibration import conditions_of, load_calibration, whole_name
from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.block.denoising import check_prior, check_spec_restorer
from ddgm.pipeline.block.solver import cached_prior, cached_solver
from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.run.grey_levels import check_grey
from ddgm.pipeline.spec.base import sides_in_words
from ddgm.pipeline.spec.levels import bytes_to_write
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.opened import table_digest
from ddgm.pipeline.spec.output import SPECTRAL
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.spec.source import Source
from ddgm.pipeline.store.arrays import StoreError
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.manifest import describe, levels_of, plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.opening import whole_url
from ddgm.workers.specs import Local

DECIDING = "torch", "astra-toolbox", "numpy", "scipy"  # whose versions can change a block's bytes


AND = " and "  # between the versions of a run that several had a part in


class LayerError(DdgmError):
    """A layer that a run's geometry cannot give."""


class VersionError(DdgmError):
    """A package that may compute other bytes than the blocks that are done."""


@dataclass(frozen=True)
class Checked:
    """A run whose spec, source, weights, step and output have been found good."""

    context: RunContext
    manifest: dict[str, Any]


def prepare(spec: Spec, overwrite: bool = False, other_versions: bool = False) -> RunContext:
    """Check all that can be checked before any block, and create or find the output.

    Raises:
        DdgmError: the first thing that is wrong.
    """
    checked = check(spec, overwrite, other_versions)
    create(checked, overwrite)
    return checked.context


def create(checked: Checked, overwrite: bool = False) -> None:
    """Create the output, or find that of an earlier start and note the versions that are new."""
    store = RunStore(checked.context.root)
    if store.prepare(checked.context.plan, checked.manifest, overwrite):
        found, ours = store.manifest(), checked.manifest["versions"]
        if others := _other_versions(found, checked.manifest):
            found["versions"] |= {p: f"{v}{AND}{ours[p]}" for p, v in others.items()}
            store.write_manifest(found)
        if (prices := checked.manifest["spec"].get("prices")) != found["spec"].get("prices"):
            found["spec"]["prices"] = prices  # for the report
            store.write_manifest(found)
        if (also := checked.manifest["spec"]["output"]["also"]) is not None:
            output = found["spec"]["output"]
            if output.get("also") != also:  # asked for since
                output["also"] = also
                store.write_manifest(found)


def check(spec: Spec, overwrite: bool = False, other_versions: bool = False) -> Checked:
    """Check all that can be checked before any block; writes nothing.

    Args:
        spec: what to do.
        overwrite: what an earlier run of another spec left.
        other_versions: whether a run may be resumed by other versions of `DECIDING`.

    Raises:
        DdgmError: the first thing that is wrong.
    """
    spec = _settled(spec)
    plan = make_plan(spec)
    _check_precision(spec)
    prior = cached_prior(spec.prior)
    check_card(plan)
    solver = cached_solver(plan)  # also fills the projector's cache for all
    spectral = [layer for layer in spec.output.layers if layer in SPECTRAL]
    if spectral and not isinstance(solver.projector, Spectral):
        raise LayerError(
            f"output.layers: {spectral[0]} needs the singular vectors of A, which a "
            f"{spec.tilts.detector} detector's have no quick way to; set tilts.detector: lateral, "
            "or leave the layer out"
        )
    norm = solver.projector.norm
    spec.method.check(norm)
    if spec.method.needs_basis:
        check_basis(solver.projector, spec.method.name)
    if "algebraic" in spec.output.layers:
        spec.algebraic.check(norm)
    check_grey(plan)
    calibration = _calibration(plan, prior)
    # absolute: workers elsewhere would take a relative path from their own folder
    root = Folder(spec.output.path).local_path() or spec.output.path
    store = RunStore(root)
    manifest = describe(plan, prior, code_digest(), calibration)
    _check_space(plan, store)
    if store.check(manifest, overwrite):
        found = store.manifest()
        plan_of(found)
        manifest["levels"] = levels_of(found)  # it goes on as it was begun
        if not other_versions:
            _check_versions(store, manifest)
    digest, code, levels = manifest["digest"], manifest["code"], levels_of(manifest)
    context = RunContext.of(plan, root, digest, code, levels=levels, calibration=calibration or "")
    return Checked(context, manifest)


def _calibration(plan: Plan, prior: Prior) -> str | None:
    """The spec's calibration as JSON, once it is known to be made for runs like this one."""
    if (url := plan.spec.calibration) is None:
        return None
    found = load_calibration(url)
    found.check(url, conditions_of(plan, prior.digest))
    return found.model_dump_json()


def check_card(plan: Plan) -> None:
    """Check the plan against what its prior says that it was trained for.

    Raises:
        PriorError: it was trained on other voxels, or at other noise levels, or sees neighbouring
            slices that the method does not have; or a restorer was trained on other tilt series.
    """
    card = read_card(plan.spec.prior.weights)
    check_prior(plan.spec, card)
    _check_sides(plan, card)
    _check_sigma(plan.spec, card)
    check_spec_restorer(plan.spec, card, plan.kept)


def _settled(spec: Spec) -> Spec:
    """The spec with whole paths of source and weights, and the weights' SHA-256.

    Workers look from other folders than ours, and refuse any other weights.
    """
    weights, digest = settled(spec.prior.weights)
    found: dict[str, str | None] = {"weights": weights, "sha256": spec.prior.sha256 or digest}
    found |= {"restorer": None, "restorer_sha256": None}
    if spec.prior.restorer is not None and "restorer" in spec.method.networks:
        restorer, digest = settled_restorer(spec.prior.restorer)
        digest = spec.prior.restorer_sha256 or digest
        found |= {"restorer": restorer, "restorer_sha256": digest}
    parts = {
        "source": _settled_source(spec.source),
        "prior": spec.prior.model_copy(update=found),
        "calibration": spec.calibration and whole_name(spec.calibration),
    }
    return spec.model_copy(update=parts)


def _settled_source(source: Source) -> Source:
    """The source with whole paths, and the digest of its table of views."""
    if source.url is not None:
        return source.model_copy(update={"url": whole_url(source.url)})
    assert source.tilts is not None
    assert source.views is not None
    views = whole_url(source.views)
    digest = source.views_sha256 or table_digest(views)
    found = {"tilts": whole_url(source.tilts), "views": views, "views_sha256": digest}
    return source.model_copy(update=found)


def _check_precision(spec: Spec) -> None:
    """Refuse float8 where all workers are on this machine, and it has none."""
    if spec.prior.precision != "float8" or not isinstance(spec.cluster, Local):
        return
    if not gpu.runs("float8", default_device()):
        raise PriorError(
            "prior.precision: float8 needs a GPU of NVIDIA's Hopper generation or later, Triton "
            "and a C compiler, which this machine lacks; use bfloat16"
        )


def _check_sides(plan: Plan, card: PriorCard) -> None:
    """Refuse a prior that was trained on cubes for other voxels, unless the spec allows it."""
    if not plan.refuses_prior:
        return
    spec, cube = plan.spec, card.voxel_size_nm
    raise PriorError(
        f"prior.weights: {spec.prior.weights} was trained on cubes of {cube:g} nm, and voxels are "
        f"{sides_in_words(plan.network_sides_nm)}, which look different to it; make "
        f"them cubes with source.resample: {cube:g}, or use it all the same with "
        "prior.any_voxel_size: true"
    )


def _check_sigma(spec: Spec, card: PriorCard) -> None:
    sigmas = spec.method.sigmas
    if sigmas and not card.knows(max(sigmas), min(sigmas)):
        low, high = card.sigma_range
        raise PriorError(
            f"method.sigma: [{max(sigmas)}, {min(sigmas)}] is not within {low:g} to {high:g}, the "
            f"noise levels that {spec.prior.weights} was trained at; stay within them"
        )


def _check_space(plan: Plan, store: RunStore) -> None:
    free = store.folder.free_bytes()
    whole = bytes_to_write(plan)
    needed = int(0.8 * whole)  # zstd was measured to save 6 to 15 % of EM, its kin and sinograms
    if free is not None and free < needed and not store.folder.names(""):
        raise StoreError(
            f"output.path: {store.root} has {free / 1e9:.2f} GB free, and the run writes up to "
            f"{whole / 1e9:.2f} GB before compression; choose another disk or fewer layers",
            "storage",
        )


def _check_versions(store: RunStore, manifest: Mapping[str, Any]) -> None:
    for package, theirs in _other_versions(store.manifest(), manifest).items():
        raise VersionError(
            f"output.path: {store.root} was begun with {package} {theirs}, and here is "
            f"{manifest['versions'][package]}, which may compute other bytes; install {package} "
            f"{theirs.split(AND)[0]}, or go on all the same with --other-versions"
        )


def _other_versions(found: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, str]:
    """Packages that decide bytes and had no part in a run as they are here: what it says of them.

    A run.json that does not name a package says nothing against it.
    """
    theirs, ours = found.get("versions", {}), manifest["versions"]
    known = {package: theirs[package] for package in DECIDING if package in theirs}
    return {p: v for p, v in known.items() if ours[p] not in v.split(AND)}
