"""Conjugate gradients for a batch of systems at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor], right: Tensor, x: Tensor, steps: int
) -> Tensor:
    """`steps` steps towards the solution of M x = right, each slice a system of its own.

    Args:
        normal: x → Mx, symmetric and positive definite.
        right: (B, H, W).
        x: (B, H, W), where to start.
        steps: at most; a slice that is solved stays as it is.
    """
    residual = right - normal(x)
    direction, square = residual, _dot(residual, residual)
    for _ in range(steps):
        image = normal(direction)
        length = square / _dot(direction, image).clamp_min(TINY)
        x = x + length * direction
        residual = residual - length * image
        before, square = square, _dot(residual, residual)
        direction = residual + square / before.clamp_min(TINY) * direction
    return x


TINY = 1e-30  # so that a slice that is solved exactly stays, rather than becoming NaN


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)
