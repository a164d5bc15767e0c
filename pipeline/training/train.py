"""One training, from its spec to the weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ddgm.core.errors import DdgmError
from ddgm.core.intensity import Intensity
from ddgm.core.metrics.tissue import save_tissue
from ddgm.core.networks.prior import Prior, PriorCard, PriorError, load_prior, save_prior
from ddgm.core.networks.unet import UNet
from ddgm.core.training.data import Drawing
from ddgm.core.training.events import Observer
from ddgm.core.training.fit import fit
from ddgm.core.training.start import begin_with
from ddgm.pipeline.spec.yaml_file import dump_spec, load_spec
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.training.bricks import BrickPrefetcher
from ddgm.pipeline.training.data import (
    TrainingVolume,
    drawing,
    intensity,
    open_region,
    training_pairs,
    training_volumes,
    validation_patches,
)
from ddgm.pipeline.training.log import TrainingLog
from ddgm.pipeline.training.progress import TrainingProgress
from ddgm.pipeline.training.spec import TrainingSpec
from ddgm.pipeline.training.tissue import training_tissue

# may change when a training goes on; the cache's size and bricks decide what is drawn
FREE: Any = {
    "devices": True,
    "loaders": True,
    "save_every": True,
    "output": True,
    "weights": True,
    "data": {"cache": {"folder", "processes"}, "any_voxel_size": True},
}
WEIGHTS = "prior.safetensors"


def train(spec: TrainingSpec, console: Console) -> Path:
    """Train, or resume where an earlier start of the same spec stopped; write the weights.

    Returns:
        The weights, `prior.safetensors` in the spec's output; beside them are the statistics of its
        tissue, where the volumes hold cubes of 64 voxels.

    Raises:
        DdgmError: data, recipe or output do not make sense, the loss is no number, or the
            training was asked to stop, and can be resumed.
    """
    folder = Path(spec.output).expanduser().absolute()
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if not first:  # one of several devices' processes speaks, and writes
        console.quiet = True
    start = starting_prior(spec)
    volumes = training_volumes(spec)
    if spec.validation is not None:
        open_region(spec, spec.validation, "validation")
    claim(folder, spec)  # after what can be wrong with the spec, which is then put right in place
    normal = intensity(spec, volumes, console)
    console.print(f"x = (grey - {normal.mean:.2f}) / {normal.std:.2f}")
    source = drawing(spec, volumes, normal)
    validation = validation_patches(spec, normal)
    with ExitStack() as stack:
        progress = stack.enter_context(TrainingProgress(console))
        observers: list[Observer] = [TrainingLog(folder), progress]
        observers.append(stack.enter_context(prefetcher(spec, volumes, source)))
        options = spec.runtime_options()
        pairs = training_pairs(spec, source)
        network = fit(spec.recipe(), pairs, folder, options, validation, observers, start)
    weights = folder / WEIGHTS
    if first:
        dtype = torch.bfloat16 if spec.weights == "bfloat16" else torch.float32
        save_prior(weights, network, card(spec, volumes, normal, start), dtype)
        if spec.restore is None and (found := training_tissue(volumes, normal, spec.data.origin)):
            save_tissue(weights, found)
        if spec.data.cache.folder is None:
            shutil.rmtree(folder / "bricks", ignore_errors=True)
    return weights


def starting_prior(spec: TrainingSpec) -> Prior | None:
    """The prior whose weights the training begins with, if the spec names one.

    Raises:
        PriorError: there is no such prior, or its network is another.
    """
    if spec.start is None:
        return None
    try:
        prior = load_prior(spec.start)
    except PriorError as error:
        raise PriorError(str(error).replace("prior.weights", "start")) from error
    begin_with(UNet(spec.recipe().architecture), prior)
    return prior


def claim(folder: Path, spec: TrainingSpec) -> None:
    """Make the folder this spec's, or find that it is.

    Raises:
        DdgmError: it holds something else, a training of another spec, or one that is done.
    """
    kept = folder / "spec.yaml"
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not kept.exists()):
        raise DdgmError(f"output: {folder} holds something else; choose another folder")
    if kept.exists():
        before = load_spec(kept, TrainingSpec)
        if changed := differences(before, spec):
            raise DdgmError(
                f"output: {folder} holds a training of another spec, which differs in "
                f"{', '.join(changed)}; put that back or choose another folder"
            )
        if (folder / WEIGHTS).exists():
            raise DdgmError(f"output: {folder} holds a training that is done, {WEIGHTS}")
    Folder(str(folder)).write(kept.name, dump_spec(spec).encode())


def differences(a: TrainingSpec, b: TrainingSpec) -> list[str]:
    """Fields in which two specs would not train the same network, as part.field."""
    found = []
    left, right = (s.model_dump(mode="json", exclude=FREE) for s in (a, b))
    for part in left:
        if isinstance(left[part], dict) and isinstance(right[part], dict):
            names = sorted({*left[part], *right[part]})
            found += [f"{part}.{n}" for n in names if left[part].get(n) != right[part].get(n)]
        elif left[part] != right[part]:
            found.append(part)
    return found


def prefetcher(
    spec: TrainingSpec, volumes: Sequence[TrainingVolume], source: Drawing
) -> BrickPrefetcher:
    """The prefetcher of the volumes' bricks."""
    scheduled = [(v.bricks, v.schedule) for v in volumes]
    return BrickPrefetcher(scheduled, source.drawn, spec.training.batch, spec.data.cache.processes)


def card(
    spec: TrainingSpec,
    volumes: Sequence[TrainingVolume],
    normal: Intensity,
    start: Prior | None = None,
) -> PriorCard:
    """The model card that is stored with the weights."""
    begun = {"start": {"weights": spec.start, "sha256": start.digest}} if start else {}
    recipe = spec.recipe()
    return PriorCard(
        architecture=recipe.architecture,
        mean=normal.mean,
        std=normal.std,
        voxel_size_nm=max(volumes[0].bricks.volume.info.voxel_size_nm),
        patch=recipe.patch,
        sigma_range=recipe.sigma_range,
        training={
            "origin": spec.data.origin,
            "volumes": [v.model_dump(mode="json") for v in spec.data.volumes],
            "phantom": spec.data.phantom.model_dump() if spec.data.phantom else None,
            **begun,
            **spec.training.model_dump(mode="json"),
        },
        restores=recipe.restores,
        passes=recipe.passes,
    )
