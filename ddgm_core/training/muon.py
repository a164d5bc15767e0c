"""Muon: momentum whose step for a layer's weights, seen as a matrix, is made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

RATIO = 7.0  # learning rate of the matrices over that of the rest (measured to train well)
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # Jordan et al., below


class Muon(Optimizer):
    """Orthogonalised momentum for weights of two and more axes, Adam for the others.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024);
    convolutions count as matrices of (out, in × height × width). `torch.optim.Muon` takes none.

    Args:
        matrices: hidden layers' weights.
        others: first and last layer, norms and biases.
        lr: of the others; the matrices' is `RATIO` times that.
        momentum: of the matrices, Nesterov's.
        betas, eps: Adam's, PyTorch's defaults.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(others), "lr": lr, "matrices": False},
            {"params": list(matrices), "lr": lr * RATIO, "matrices": True},
        ]
        super().__init__(groups, {"momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self._orthogonal if group["matrices"] else self._adam)(p, p.grad, group)
        return loss

    def _orthogonal(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        mean = state.setdefault("mean", torch.zeros_like(p))
        mean.lerp_(grad, 1 - group["momentum"])
        ahead = grad.lerp(mean, group["momentum"])
        step = orthogonalised(ahead.flatten(1)).view_as(p)
        scale = max(1.0, p.shape[0] / p[0].numel()) ** 0.5
        p.add_(step, alpha=-group["lr"] * scale)

    def _adam(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, (b1, b2) = self.state[p], group["betas"]
        count = state["step"] = state.get("step", 0) + 1
        mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(grad, 1 - b1)
        square = state.setdefault("square", torch.zeros_like(p)).lerp_(grad.square(), 1 - b2)
        std = (square / (1 - b2**count)).sqrt_().add_(group["eps"])
        p.addcdiv_(mean, std, value=-group["lr"] / (1 - b1**count))


def orthogonalised(m: Tensor, iterations: int = 5) -> Tensor:
    """About U Vᵀ of m = U S Vᵀ: singular values of 0.7 to 1.2, by Newton and Schulz's iteration."""
    a, b, c = NEWTON_SCHULZ
    tall = m.shape[0] > m.shape[1]
    x = (m.T if tall else m) / (m.norm() + 1e-7)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
