"""What a training leaves."""

from __future__ import annotations

from pathlib import Path

import torch

from ddgm.core.networks.prior import load_prior

GIVEN = {"intensity": {"mean": 128.0, "std": 74.0}}
LEFT = {"intensity.json", "last.ckpt", "loss.csv", "prior.safetensors", "spec.yaml"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_prior(str(folder / "prior.safetensors")).network.state_dict()


def same(a: Path, b: Path) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(w, right[n]) for n, w in left.items())
