"""Muon: momentum whose step for a layer's weights, seen as a matrix, is made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

RATIO = 7.0  # learning rate of the matrices over that of the rest (measured to train well)
_torch: Any = torch  # its _foreach functions, which its stubs leave out
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
            work = self._orthogonal if group["matrices"] else self._adam
            for parameters in _alike(p for p in group["params"] if p.grad is not None):
                work(parameters, [p.grad for p in parameters], group)
        return loss

    def _orthogonal(self, parameters: list[Tensor], grads: Any, group: dict[str, Any]) -> None:
        means = self._kept(parameters, "mean")
        _torch._foreach_lerp_(means, grads, 1 - group["momentum"])
        ahead = torch.stack(_torch._foreach_lerp(grads, means, group["momentum"]))
        steps = orthogonalised(ahead.flatten(2)).view_as(ahead)
        scale = max(1.0, parameters[0].shape[0] / parameters[0][0].numel()) ** 0.5
        _torch._foreach_add_(parameters, steps.unbind(), alpha=-group["lr"] * scale)

    def _adam(self, parameters: list[Tensor], grads: Any, group: dict[str, Any]) -> None:
        b1, b2 = group["betas"]
        means, squares = (self._kept(parameters, name) for name in ("mean", "square"))
        count = self.state[parameters[0]].get("step", 0) + 1
        for p in parameters:
            self.state[p]["step"] = count
        _torch._foreach_lerp_(means, grads, 1 - b1)
        _torch._foreach_mul_(squares, b2)
        _torch._foreach_addcmul_(squares, grads, grads, 1 - b2)
        std = _torch._foreach_sqrt(_torch._foreach_div(squares, 1 - b2**count))
        _torch._foreach_add_(std, group["eps"])
        _torch._foreach_addcdiv_(parameters, means, std, -group["lr"] / (1 - b1**count))

    def _kept(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        """State of each parameter that updates carry forward, zeros at first."""
        for p in parameters:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in parameters]


def _alike(parameters: Iterable[nn.Parameter]) -> list[list[Tensor]]:
    """Parameters of the same shape: on a GPU one kernel for all is quicker than one for each."""
    shapes: dict[torch.Size, list[Tensor]] = {}
    for p in parameters:
        shapes.setdefault(p.shape, []).append(p)
    return list(shapes.values())


def orthogonalised(m: Tensor, iterations: int = 5) -> Tensor:
    """About U Vᵀ of m = U S Vᵀ: singular values of 0.7 to 1.2, by Newton and Schulz's iteration.

    Args:
        m: matrices, (…, rows, columns).
        iterations: of the polynomial.
    """
    a, b, c = NEWTON_SCHULZ
    tall = m.shape[-2] > m.shape[-1]
    x = (m.mT if tall else m) / (torch.linalg.matrix_norm(m, keepdim=True) + 1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
