"""One training: patches in, checkpoints on the way, the averaged network out."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from ddgm.core.errors import DdgmError, Stopped
from ddgm.core.networks.prior import Prior
from ddgm.core.networks.unet import Architecture, UNet, parameter_count
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.training import restoring
from ddgm.core.training.callbacks import SIGNALS, LoaderSignals, TrainingCallback, TrainingError
from ddgm.core.training.data import NoisyPatches, SequentialBatches, TiltedSlices
from ddgm.core.training.events import Observer, Started, Validated
from ddgm.core.training.module import AveragedNetwork, NoisePrediction
from ddgm.core.training.recipe import Recipe, RuntimeOptions
from ddgm.core.training.validation import validate


class Patches(lightning.LightningDataModule):
    """Feeds the loop, from the pair on where a resumed training stands."""

    def __init__(
        self, pairs: NoisyPatches | TiltedSlices, recipe: Recipe, options: RuntimeOptions
    ) -> None:
        super().__init__()
        self.pairs, self.recipe, self.options = pairs, recipe, options
        self.signals = LoaderSignals()

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        assert trainer is not None
        batch = self.recipe.batch // (self.recipe.accumulate * trainer.world_size)
        order = SequentialBatches(
            batch,
            trainer.global_step * self.recipe.accumulate,
            trainer.global_rank,
            trainer.world_size,
        )
        return DataLoader(
            self.pairs,
            batch_sampler=order,
            num_workers=self.options.loaders,
            prefetch_factor=4,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=self.signals,
        )


def fit(
    recipe: Recipe,
    pairs: NoisyPatches | TiltedSlices,
    folder: Path,
    options: RuntimeOptions | None = None,
    validation: Tensor | None = None,
    observers: Sequence[Observer] = (),
    start: Prior | None = None,
) -> UNet:
    """Train, or go on from `folder`'s checkpoint.

    Args:
        recipe: what to do.
        pairs: what to learn from.
        folder: for the checkpoint, `last.ckpt`.
        options: how to do it.
        validation: (B, channels, patch, patch) clean patches, normalised, never trained on.
        observers: called with every event.
        start: a prior whose weights a new training begins with; default: random ones.

    Returns:
        The network with the averaged weights.

    Raises:
        TrainingError: the batch cannot be shared out, the checkpoint cannot be read, a loss is
            no number, or a patch cannot be had.
        PriorError: the start's network is another.
        Stopped: SIGTERM or SIGINT asked to stop; the state is saved.
    """
    options = options or RuntimeOptions()
    parts = recipe.accumulate * options.devices
    if recipe.batch % parts:
        raise TrainingError(
            f"batch: {recipe.batch} must be a multiple of accumulate x devices, {parts}"
        )
    checkpoint = folder / "last.ckpt"
    folder.mkdir(parents=True, exist_ok=True)
    if not torch.cuda.is_available():
        keep_freed_memory()
    lightning.seed_everything(recipe.seed, verbose=False)
    learns = restoring.Restoration if recipe.restores else NoisePrediction
    module = learns(recipe, start)
    callback = TrainingCallback(
        checkpoint,
        options.save_every,
        observers,
        _validator(recipe, options, validation),
        options.validate_every,
    )
    trainer = _trainer(recipe, options, callback)
    if trainer.is_global_zero:
        _tell_start(checkpoint, recipe, trainer, observers)
    patches = Patches(pairs, recipe, options)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        trainer.fit(
            module,
            datamodule=patches,
            ckpt_path=str(checkpoint) if checkpoint.exists() else None,
            weights_only=True,  # nothing in a checkpoint is executed
        )
    except DdgmError as error:
        *trace, said = str(error).splitlines()
        if not trace:
            raise
        # of a loader process: torch puts the trace there before what was said
        raise TrainingError(said.partition(": ")[2]) from error
    finally:
        patches.signals.over.value = 1
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if trainer.global_step < recipe.steps:  # also where another device's process was asked to
        raise Stopped(
            f"stopped after {trainer.global_step} of {recipe.steps} updates, and saved; run the "
            "same spec again to go on"
        )
    return module.averaged


def _trainer(
    recipe: Recipe, options: RuntimeOptions, callback: TrainingCallback
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")  # advice on what is done on purpose
    return lightning.Trainer(
        max_steps=recipe.steps,
        precision="bf16-mixed" if recipe.precision == "bfloat16" else "32-true",
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip,
        accelerator="auto",
        devices=options.devices,
        strategy="auto" if options.devices == 1 else "ddp",
        use_distributed_sampler=False,
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _validator(
    recipe: Recipe, options: RuntimeOptions, patches: Tensor | None
) -> Callable[[AveragedNetwork, int], Validated] | None:
    if patches is None:
        return None

    def work(module: AveragedNetwork, step: int) -> Validated:
        on_device = patches.to(module.device)
        if recipe.restores:
            return restoring.validate(module.averaged, recipe, on_device, step)
        return validate(module.averaged, recipe.precision, on_device, step, options.slices)

    return work


def _tell_start(
    checkpoint: Path, recipe: Recipe, trainer: lightning.Trainer, observers: Sequence[Observer]
) -> None:
    started = Started(
        _step_of(checkpoint),
        recipe.steps,
        parameter_count(UNet(recipe.architecture)),
        multiply_adds(recipe.architecture, recipe.patch),
        f"{_running_on(trainer)}, {recipe.precision}",
    )
    for observe in observers:
        observe(started)


def _running_on(trainer: lightning.Trainer) -> str:
    """The devices in words."""
    if isinstance(trainer.accelerator, CUDAAccelerator):
        return f"{trainer.world_size} x {torch.cuda.get_device_name()}"
    return f"CPU, {torch.get_num_threads()} threads"


def multiply_adds(architecture: Architecture, patch: int) -> int:
    """Multiply-adds of a network's convolutions for one image of patch × patch."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        UNet(architecture)(torch.empty(1, architecture.channels, patch, patch))
    return counter.get_total_flops() // 2


def _step_of(checkpoint: Path) -> int:
    """Updates that a checkpoint has seen; 0 where there is none.

    Raises:
        TrainingError: it cannot be read.
    """
    if not checkpoint.exists():
        return 0
    try:
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
        return int(state["global_step"])
    except Exception as error:  # whatever a damaged file makes torch raise
        what = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{checkpoint}: not a checkpoint of a training ({what}); delete it to start anew"
        ) from error
