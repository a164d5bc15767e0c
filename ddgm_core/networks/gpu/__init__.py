"""The network on a GPU: fused kernels, replayed as a CUDA graph."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch

BFLOAT16, FLOAT8 = (8, 0), (9, 0)  # compute capabilities that have them


def runs(precision: str, device: torch.device) -> bool:
    """True if a device can run `FusedUNet` in a precision, bfloat16 or float8.

    Triton compiles its launcher where it runs, so it wants a C compiler there.
    """
    if device.type != "cuda" or torch.version.hip or precision == "float32":
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    least = FLOAT8 if precision == "float8" else BFLOAT16
    capable = torch.cuda.get_device_capability(device) >= least
    return capable and compiler is not None and find_spec("triton") is not None
