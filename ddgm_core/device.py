"""The device that a process computes on."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """The process's accelerator, or its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
