"""One training: volumes in, checkpoints on the way, weights with their card out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from ddgm_core.denoiser import PriorCard, save_prior
from ddgm_core.training.data import SIGMA_RANGE, NoisyPatches, Volume, fixed_patches
from ddgm_core.training.module import NoisePrediction
from ddgm_core.unet import Architecture

CHECKPOINT_STEPS = 100  # steps that an interruption may lose
VALIDATION_STEPS = 250


@dataclass(frozen=True)
class Recipe:
    """What a training does; with the volumes, all that its result depends on."""

    architecture: Architecture = field(default_factory=Architecture)
    steps: int = 380_000
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 100
    patch: int = 128
    seed: int = 0
    voxel_size_nm: float = 16.0
    precision: str = "bf16-mixed"


class Patches(lightning.LightningDataModule):
    """Feeds the loop, from the sample on where a resumed training stands."""

    def __init__(self, samples: NoisyPatches, batch: int, validation: torch.Tensor | None) -> None:
        super().__init__()
        self.samples, self.batch, self.validation = samples, batch, validation

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        self.samples.start = self.trainer.global_step * self.batch
        return DataLoader(self.samples, self.batch, num_workers=1, prefetch_factor=4)

    def val_dataloader(self) -> list[DataLoader]:
        if self.validation is None:
            return []
        return [DataLoader(self.validation, 32)]  # type: ignore[arg-type]


def statistics(volumes: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean and standard deviation over all voxels of all volumes, in grey levels.

    Raises:
        ValueError: all voxels are equal, so nothing can be normalised or learnt.
    """
    count = sum(v.size for v in volumes)
    mean = sum(float(v.sum(dtype=np.float64)) for v in volumes) / count
    square = sum(float(np.square(v, dtype=np.float64).sum()) for v in volumes) / count
    if (variance := square - mean**2) <= 0:
        raise ValueError("all training voxels are equal: there is nothing to learn")
    return mean, variance**0.5


def fit(
    recipe: Recipe,
    volumes: Sequence[Volume],
    statistics_of: Sequence[np.ndarray],
    folder: Path,
    origin: str,
    validation: np.ndarray | None = None,
) -> Path:
    """Train, or go on from `folder`'s last checkpoint, and write `folder`/prior.safetensors.

    Args:
        recipe: what to do.
        volumes: where patches are drawn from, with their shares.
        statistics_of: the volumes whose voxels give the normalising mean and std.
        folder: for checkpoints, the logs (CSV, one a start) and the weights.
        origin: data and licence, one sentence for the card.
        validation: a volume never trained on; its error by σ goes to the log.
    """
    lightning.seed_everything(recipe.seed, verbose=False)
    mean, std = statistics(statistics_of)
    module = NoisePrediction(recipe.architecture, recipe.steps, recipe.lr, recipe.warmup)
    module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = NoisyPatches(volumes, mean, std, recipe.patch, recipe.seed)
    held = None if validation is None else fixed_patches(validation, 32, mean, std, recipe.patch)
    checkpoint = ModelCheckpoint(
        folder / "checkpoints", every_n_train_steps=CHECKPOINT_STEPS, save_last=True, save_top_k=1
    )
    trainer = lightning.Trainer(
        max_steps=recipe.steps,
        precision=recipe.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        accelerator="auto",
        logger=CSVLogger(folder, name="log", flush_logs_every_n_steps=50),
        callbacks=[checkpoint, TQDMProgressBar(refresh_rate=20)],
        val_check_interval=VALIDATION_STEPS if validation is not None else None,
        check_val_every_n_epoch=None,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(
        module,
        datamodule=Patches(samples, recipe.batch, held),
        ckpt_path=str(last) if last.exists() else None,
    )
    card = PriorCard(
        architecture=recipe.architecture,
        mean=mean,
        std=std,
        voxel_size_nm=recipe.voxel_size_nm,
        patch=recipe.patch,
        sigma_range=SIGMA_RANGE,
        training={
            "origin": origin,
            "volumes": {v.name: v.share for v in volumes},
            "steps": trainer.global_step,
            "batch": recipe.batch,
            "lr": recipe.lr,
            "seed": recipe.seed,
        },
    )
    save_prior(folder / "prior.safetensors", module.averaged, card)
    return folder / "prior.safetensors"
