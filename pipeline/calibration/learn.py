"""`ddgm calibrate`: from a finished run on a volume with truth to a calibration.

The first third of the slices teaches the map, the others scale it: split conformal prediction, in
which the slices that scale a map have no part in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from ddgm.core.metrics.conformal import (
    ErrorMap,
    conformal_scale,
    learn_error_map,
    needed_slices,
    pixel_features,
)
from ddgm.core.projectors import Spectral
from ddgm.pipeline.block.calibration import (
    Calibration,
    CalibrationError,
    Slices,
    conditions_of,
)
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.block.solver import cached_solver
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.whole import whole_blocks

MOST = 256  # slices that are looked at, evenly spaced: more would change the rate by 0.3 %
PIXELS = 2_000_000  # that teach the map


def check_plan(plan: Plan, rate: float) -> None:
    """Refuse a spec whose run could not be calibrated on, before it is run.

    Raises:
        CalibrationError: it stores no truth, or rounds, or has too few slices for the rate.
    """
    if not 0.5 <= rate <= 0.999:
        raise CalibrationError(f"--rate: {rate:g} must lie within 0.5 and 0.999")
    output, chains = plan.spec.output, plan.spec.method.chains
    for layer in ("truth", "spread") if chains > 1 else ("truth",):
        if layer not in output.layers:
            what = "the truth" if layer == "truth" else f"how far the {chains} chains differ"
            raise CalibrationError(
                f"output.layers: without {layer}, a calibration cannot be learnt from {what}; add "
                "it to the layers"
            )
    if output.dtype != "float32":
        raise CalibrationError(
            f"output.dtype: {output.dtype} rounds what the calibration is learnt from; set it to "
            "float32 (a run that uses the calibration may write uint8)"
        )
    needed = whole_count(rate)
    if plan.slice_count < needed:
        raise CalibrationError(
            f"source.box: has {plan.slice_count} slices, and a rate of {rate:g} needs {needed}: a "
            f"third teaches the map, and {needed_slices(rate)} others scale it; choose a longer "
            "box, or a lower --rate"
        )


def whole_count(rate: float) -> int:
    """Fewest slices of which two thirds are enough for a rate."""
    needed = needed_slices(rate)
    return next(n for n in range(needed + 1, 2 * needed + 2) if n - n // 3 >= needed)


def learn(root: str, rate: float) -> Calibration:
    """The calibration that a finished run teaches.

    Args:
        root: the run's folder.
        rate: share of pixels that are to lie inside the intervals.

    Raises:
        DdgmError: there is no run, it is not finished, or cannot be calibrated on.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan, weights = plan_of(manifest), manifest["weights"]["sha256"]
    check_plan(plan, rate)
    records = _records(store, plan, manifest["digest"])
    chosen = np.unique(np.linspace(0, plan.slice_count - 1, MOST).round().astype(int))
    if plan.slice_count <= MOST:
        chosen = np.arange(plan.slice_count)
    teaching, scaling = np.split(chosen, [len(chosen) // 3])
    error_map = _learnt(store, plan, teaching)
    scale = conformal_scale(_ratios(store, plan, scaling, error_map), rate)
    counts = len(teaching), len(scaling), needed_slices(rate)
    truth = "\n".join(record.checksums["truth"] for record in records)
    data = {
        "source": plan.spec.source.place,
        "region": str(plan.region),
        "slices": plan.slice_count,
        "truth, SHA-256 of its blocks' checksums": hashlib.sha256(truth.encode()).hexdigest(),
        "run": manifest["digest"],
    }
    made = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "ddgm": version("ddgm"),
        "code": manifest["code"],
    }
    return Calibration(
        rate=rate,
        scale=scale,
        map=error_map,
        slices=Slices(learnt=counts[0], scaled=counts[1], needed=counts[2]),
        conditions=conditions_of(plan, weights),
        data=data,
        made=made,
    )


def _records(store: RunStore, plan: Plan, digest: str) -> list[Record]:
    """The records of all blocks, which must be done."""
    whole = (some.block.tolist() for some in whole_blocks(store.folder, plan, digest))
    done = [block for some in whole for block in some]
    found = {r.block: r for r in store.ledger.records_at(done)}
    if len(found) < plan.block_count:
        left = plan.block_count - len(found)
        raise CalibrationError(
            f"{store.root}: {left} of {plan.block_count} blocks are not done; run the spec again, "
            "then calibrate"
        )
    return [found[block] for block in range(plan.block_count)]


def _learnt(store: RunStore, plan: Plan, slices: np.ndarray) -> ErrorMap:
    """The map of some slices, from as many pixels of each, drawn once and for all."""
    draw = np.random.default_rng(0)
    each = max(1, PIXELS // len(slices))
    features, errors = dict[str, list[np.ndarray]](), list[np.ndarray]()
    for known, error in _known(store, plan, slices):
        for k in range(len(error)):
            picked = draw.integers(0, error[k].numel(), min(each, error[k].numel()))
            errors.append(error[k].numpy().ravel()[picked])
            for name, feature in known.items():
                features.setdefault(name, []).append(feature[k].numpy().ravel()[picked])
    return learn_error_map(
        {name: np.concatenate(parts) for name, parts in features.items()}, np.concatenate(errors)
    )


def _ratios(store: RunStore, plan: Plan, slices: np.ndarray, error_map: ErrorMap) -> np.ndarray:
    """|error| over map of some slices, (slices, pixels)."""
    return np.concatenate(
        [
            (error.abs() / error_map(known).clamp_min(1e-12)).flatten(1).numpy()
            for known, error in _known(store, plan, slices)
        ]
    )


def _known(
    store: RunStore, plan: Plan, slices: np.ndarray
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Features and errors of some slices, block by block; slices count on from slab to slab."""
    grey, solver = grey_scale(plan), cached_solver(plan)
    several, spectral = plan.spec.method.chains > 1, isinstance(solver.projector, Spectral)
    unknown = {name for name, known in (("spread", several), ("measured", spectral)) if not known}
    before = 0
    for block in plan.blocks():
        own = slices[(slices >= before) & (slices < before + len(block.origins))] - before
        before += len(block.origins)
        if not len(own):
            continue
        x, truth = (
            torch.from_numpy(grey.normalised(store.arrays.read(plan, layer, block)))
            .permute(plan.axes)[own]
            .contiguous()
            for layer in ("reconstruction", "truth")
        )
        spread, measured = torch.zeros_like(x), torch.zeros_like(x)
        if several:
            stored = torch.from_numpy(store.arrays.read(plan, "spread", block) / grey.std)
            spread = stored.permute(plan.axes)[own].contiguous()
        if spectral:
            measured = solver.measured(x)
        known = pixel_features(x, spread, measured)
        yield {name: f for name, f in known.items() if name not in unknown}, truth - x
