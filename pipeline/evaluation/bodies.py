"""`ddgm evaluate`: membranes and bodies of a run's images, against true labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from ddgm.core.errors import DdgmError
from ddgm.core.metrics.bodies import apart, segmented
from ddgm.core.metrics.membranes import boundary_scores, label_edges
from ddgm.core.networks.boundary import boundary_network, boundary_probability
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.evaluation.table import lines
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import EVALUATION, RunStore
from ddgm.pipeline.store.tables.index import LedgerIndex
from ddgm.pipeline.volumes.array import opened
from ddgm.pipeline.volumes.box import Box

LAYERS: tuple[Layer, ...] = "reconstruction", "algebraic", "truth"  # the last is the ceiling
TOLERANCES = 1, 2  # voxels
MOST = 300_000_000  # voxels that are segmented at once, in about 30 bytes each
TRAINED_NM = 16.0  # side of a voxel of the boundary network's images
HEAD = (
    "image", "F1 at 1 voxel", "F1 at 2", "along the beam", "oblique", "across the beam", "VI split",
    "VI merge", "VI", "adapted Rand",
)  # fmt: skip

Progress = Callable[[int, int], None]


class EvaluationError(DdgmError):
    """Labels, or a run, that cannot be evaluated as asked."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a run's images against true labels.

    Attributes:
        labels: URL that they were read from.
        box: voxels of the source that were scored.
        boundaries: by image, tolerance in voxels and angle to the beam: precision, recall and f1.
        bodies: by image: split, merge, vi and rand.
    """

    labels: str
    box: str
    boundaries: dict[str, dict[str, dict[str, dict[str, float]]]]
    bodies: dict[str, dict[str, float]]

    def table(self) -> str:
        """The scores in Markdown, truth last: the best that this network and watershed can do."""
        rows = []
        for image, scores in self.boundaries.items():
            f1 = {t: {k: f"{v['f1']:.3f}" for k, v in scores[str(t)].items()} for t in TOLERANCES}
            fine, coarse = (f1[t] for t in TOLERANCES)
            angles = [v for k, v in coarse.items() if k != "all"]
            of = self.bodies[image]
            bits = [f"{of[k]:.3f}" for k in ("split", "merge", "vi", "rand")]
            rows.append([image, fine["all"], coarse["all"], *angles, *bits])
        return "\n".join(lines(HEAD, rows)) + "\n"


def evaluate(
    root: str, labels: str, mip: int = 0, box: Box | None = None, progress: Progress | None = None
) -> Evaluation:
    """Score a run's images against true labels, and write evaluation.json into its folder.

    All images are scored as one volume, in three dimensions: the boundary network finds their
    membranes, and a watershed of what it finds makes bodies.

    Args:
        root: the run's folder, on a disk or in a store.
        labels: of the run's source, voxel by voxel: what `opened` takes.
        mip: of the labels.
        box: the part to score, in voxels of the source; default: all of the run.
        progress: called with the images that are scored, and with how many there are.

    Raises:
        DdgmError: no such run or labels, labels of other bounds than the source, blocks that are
            not done, too many voxels, or no scikit-image.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    region = _checked(plan, box)
    true = _labels(plan, labels, mip, region)
    edges, beam = label_edges(true), plan.axes[1]
    grey, network = grey_scale(plan), boundary_network()
    boundaries: dict[str, Any] = {}
    bodies: dict[str, Any] = {}
    layers: list[Layer] = [layer for layer in LAYERS if layer in plan.spec.output.layers]
    for done, layer in enumerate(layers):
        if progress:
            progress(done, len(layers))
        image = grey.normalised(_image(store, plan, manifest["digest"], layer, region))
        found = boundary_probability(network, torch.from_numpy(image)).numpy()
        boundaries[layer] = {
            str(tolerance): {
                angle: asdict(score) | {"f1": score.f1}
                for angle, score in boundary_scores(found > 0.5, edges, beam, tolerance).items()
            }
            for tolerance in TOLERANCES
        }
        off = apart(segmented(found), true)
        bodies[layer] = asdict(off) | {"vi": off.vi}
    if progress:
        progress(len(layers), len(layers))
    result = Evaluation(labels, str(region), boundaries, bodies)
    store.folder.write(EVALUATION, json.dumps(asdict(result), indent=2).encode())
    return result


def doubts(root: str) -> str:
    """A warning where the boundary network does not know voxels of a run's size, else nothing."""
    sides = plan_of(RunStore(root).manifest()).info.voxel_size_nm
    if all(abs(side / TRAINED_NM - 1) < 0.1 for side in sides):
        return ""
    own = " x ".join(f"{side:g}" for side in sides)
    return (
        f"the boundary network was trained on cubes of {TRAINED_NM:g} nm, and these voxels are "
        f"{own} nm: compare only with the row `truth`"
    )


def _checked(plan: Plan, box: Box | None) -> Box:
    region = box or plan.region
    if min(region.shape) < 1 or not region.inside(plan.region):
        raise EvaluationError(
            f"--box: {region} is not a part of what the run covers, {plan.region}; correct it"
        )
    if prod(region.shape) > MOST:
        raise EvaluationError(
            f"--box: {prod(region.shape):,} voxels are scored as one volume, and {MOST:,} fit; "
            "give a smaller part, as in --box 0:512,0:512,0:512"
        )
    return region


def _labels(plan: Plan, url: str, mip: int, region: Box) -> np.ndarray:
    """True labels of a box, numbered from 1 in their order; 0 stays 0."""
    volume, bounds = opened(url, mip)
    if bounds != plan.info.bounds:
        raise EvaluationError(
            f"--labels: {url} covers {bounds}, and the run's source {plan.info.bounds}; give "
            "labels of the source, voxel by voxel"
        )
    data = volume.read(region).data
    if data.dtype.kind not in "iu":
        raise EvaluationError(f"--labels: {url} is {data.dtype}; labels are whole numbers")
    values, numbers = np.unique(data, return_inverse=True)
    return numbers.reshape(data.shape).astype(np.int32) + (0 if values[0] == 0 else 1)


def _image(store: RunStore, plan: Plan, digest: str, layer: Layer, region: Box) -> np.ndarray:
    """A box of a layer, in grey levels."""
    image, left = np.zeros(region.shape, plan.spec.output.dtype), prod(region.shape)
    ended = LedgerIndex(store.folder, digest, plan.block_count).ended()
    done = {block for some in ended for block in some.block.tolist()}
    for block in plan.blocks():
        part = block.box.common(region)
        if part is None or block.index not in done:
            continue
        data = store.arrays.read(plan, layer, block)
        image[part.slices(region.start)] = data[part.slices(block.box.start)]
        left -= prod(part.shape)
    if left:
        raise EvaluationError(
            f"{store.root}: {left:,} of {prod(region.shape):,} voxels are in blocks that are not "
            "done, or in slabs that were not asked for; run the spec again, or give a --box that "
            "is done"
        )
    return image
