"""Arrays as a caller has them, and stacks of float32 tensors as everything below wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ddgm.core.errors import DdgmError

A = TypeVar("A", np.ndarray, Tensor)


class ArrayError(DdgmError):
    """An array that is not what a function works on."""


def stack(array: Any, name: str, axes: str, shape: Sequence[int | None]) -> Tensor:
    """One image or several as (n, ·, ·), float32.

    Args:
        array: a numpy array, a tensor, or what numpy can read.
        name: of the argument, for messages.
        axes: what an image's two axes are, for messages.
        shape: of an image; None where any length will do.

    Raises:
        ArrayError: it has another shape, holds nothing, or is not made of finite real numbers.
    """
    values = array if isinstance(array, Tensor) else _tensor(array, name)
    given = tuple(values.shape)
    fits = len(given) in (2, 3) and all(
        n is None or n == m for n, m in zip(shape, given[-2:], strict=True)
    )
    if not fits:
        one = ", ".join(str(n or a) for n, a in zip(shape, axes.split(", "), strict=True))
        raise ArrayError(
            f"{name}: its shape is {given}, and must be ({one}), which is ({axes}), or (n, {one}) "
            "for a stack"
        )
    if 0 in given:
        raise ArrayError(
            f"{name}: its shape is {given}, which holds nothing; give one image at least"
        )
    if values.is_complex():
        raise ArrayError(f"{name}: its numbers are {values.dtype}; give real ones")
    values = values.detach().to(torch.float32).reshape(-1, *given[-2:])
    if not bool(torch.isfinite(values).all()):
        raise ArrayError(f"{name}: it holds NaN or infinity; give finite numbers")
    return values


def _tensor(array: Any, name: str) -> Tensor:
    values = np.asarray(array)
    if values.dtype.kind not in "biufc":
        raise ArrayError(f"{name}: its numbers are {values.dtype}; give real ones")
    if values.dtype.kind != "c":
        values = values.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(values))


def like(result: Tensor, given: A) -> A:
    """A stack's result as what it was made from: a tensor or numpy, of one image or of several."""
    values = result if given.ndim == 3 else result[0]
    if isinstance(given, Tensor):
        return values.to(given.device)
    return values.cpu().numpy()
