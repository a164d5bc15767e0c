"""Denoisers, x → ε̂, and priors: trained denoisers with what it takes to use them."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """The process's accelerator, or its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
