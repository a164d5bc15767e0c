"""GroupNorm whose backward pass is quick on a CPU, which is where `small` is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, to the rounding of the dtype, with its own gradient on the CPU.

    torch's takes 40 % of a training step there in bfloat16 and channels_last (measured, see
    docs/decisions.md). Elsewhere, and where no gradient is asked for, it is torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        return _GroupNorm.apply(input, self.weight, self.bias, self.num_groups, self.eps)  # type: ignore[no-any-return]


class _GroupNorm(torch.autograd.Function):
    """γ · (x - mean) · rstd + β, mean and rstd over each group of channels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        b, c, h, w = x.shape
        out, mean, rstd = torch.native_group_norm(x, weight, bias, b, c, h * w, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients; x̂ = (x - mean) rstd, dx = rstd (γ dy - mean(γ dy) - x̂ mean(γ dy x̂))."""
        x, weight, mean, rstd = ctx.saved_tensors
        dy = grads[0]
        b, c, h, w = x.shape
        groups = mean.shape[1]
        wide = torch.promote_types(x.dtype, torch.float32)
        mean, rstd = (t.to(wide).repeat_interleave(c // groups, 1) for t in (mean, rstd))
        sum_dy = _sum(dy)
        sum_dy_xhat = (_sum(dy * x) - mean * sum_dy) * rstd

        def group_mean(t: Tensor) -> Tensor:
            per_group = (t * weight).view(b, groups, -1).sum(-1) / (h * w * c // groups)
            return per_group.repeat_interleave(c // groups, 1)

        along_x = -group_mean(sum_dy_xhat) * rstd**2
        constant = -group_mean(sum_dy) * rstd - along_x * mean
        factors = (weight * rstd, along_x, constant)
        scale, along_x, constant = (t.to(x.dtype)[:, :, None, None] for t in factors)
        dx = torch.addcmul(constant, dy, scale).addcmul_(x, along_x)
        return dx, sum_dy_xhat.sum(0), sum_dy.sum(0), None, None


def _sum(t: Tensor) -> Tensor:
    """(B, C) sums over the pixels of (B, C, H, W), in float32 or better.

    Row by row in the tensor's dtype (which torch accumulates in float32), then in float32, with
    the channels last: other ways to say it take 10 to 30 times as long in bfloat16.
    """
    rows = t.permute(0, 2, 3, 1).sum(2)
    return rows.to(torch.promote_types(t.dtype, torch.float32)).sum(1)
