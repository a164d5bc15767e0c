"""The alternatives that a user would write or pick, as plainly as they are written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.rivals import deepinv as diffpir
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.networks.tiling import bump_1d, tile_starts
from ddgm.core.projectors import Projector

PATCH, STRIDE = paper.PATCH, paper.STRIDE


@torch.inference_mode()
def patch_by_patch(network: nn.Module, x: Tensor) -> Tensor:
    """(1, 1, H, W) → the same: one patch after the other, float32, blended with a bump."""
    bump = torch.from_numpy(bump_1d(PATCH)).float().to(x.device)
    window = torch.outer(bump, bump)
    total, weight = torch.zeros_like(x), torch.zeros_like(x)
    for i in tile_starts(x.shape[-2], PATCH, STRIDE):
        for j in tile_starts(x.shape[-1], PATCH, STRIDE):
            here = (..., slice(i, i + PATCH), slice(j, j + PATCH))
            total[here] += window * network(x[here])
            weight[here] += window
    return total / weight


class Astra:
    """A by ASTRA's own projector on a CPU, one slice at a time: its OpTomo, as in its examples."""

    def __init__(self, geometry: TiltGeometry) -> None:
        import astra
        import numpy as np

        angles = np.asarray(geometry.angles)
        self.volume = astra.create_vol_geom(geometry.thickness, geometry.width)
        zero, one = np.zeros_like(angles), np.ones_like(angles)
        ray = np.sin(angles), -np.cos(angles)
        vectors = np.stack([*ray, zero, zero, one, zero], axis=1)
        self.views = astra.create_proj_geom("parallel_vec", geometry.bins, vectors)
        self.projector = astra.create_projector("linear", self.views, self.volume)
        self.w: Any = astra.OpTomo(self.projector)

    def forward(self, x: Tensor) -> Tensor:
        """(H, W) → (views, bins)."""
        return torch.from_numpy(self.w.FP(x.numpy()))

    def adjoint(self, y: Tensor) -> Tensor:
        """(views, bins) → (H, W)."""
        return torch.from_numpy(self.w.BP(y.numpy()))

    def algorithm(self, name: str, y: Tensor, count: int) -> Tensor:
        """`SIRT` or `CGLS`, `count` steps, of one slice."""
        import astra

        sinogram = astra.data2d.create("-sino", self.views, y.numpy())
        found = astra.data2d.create("-vol", self.volume, 0.0)
        config = astra.astra_dict(name)
        config |= {
            "ProjectorId": self.projector,
            "ProjectionDataId": sinogram,
            "ReconstructionDataId": found,
        }
        run = astra.algorithm.create(config)
        astra.algorithm.run(run, count)
        x = torch.from_numpy(astra.data2d.get(found))
        astra.algorithm.delete(run)
        astra.data2d.delete([sinogram, found])
        return x


@torch.inference_mode()
def from_the_page(
    a: Astra,
    y: Tensor,
    network: nn.Module,
    noise: Callable[[int], Tensor],
    sigmas: Sequence[float],
    step: float,
    gradient_steps: int,
) -> Tensor:
    """Algorithm 1 for one slice as it is printed: (views, bins) → (H, W)."""
    x = torch.zeros_like(noise(0))
    for n, sigma in enumerate(sigmas):
        for _ in range(gradient_steps):
            x = x - step * a.adjoint(a.forward(x) - y)
        x = x + sigma * noise(n)
        x = x - sigma * patch_by_patch(network, x[None, None])[0, 0]
    return x


def deepinv(
    projector: Projector, y: Tensor, denoise: Denoiser, name: Literal["DPS", "DiffPIR"], steps: int
) -> Tensor:
    """deepinv's method with our operator and prior, as its documentation sets it up.

    Raises:
        DeepinvError: it is not installed.
    """
    if name == "DiffPIR":
        return diffpir.solve(projector, y, denoise, paper.TILT_NOISE, steps, 0.3, 7.0)
    package = diffpir.import_deepinv()
    g = projector.geometry
    middle = projector.forward(y.new_ones(len(y), g.thickness, g.width))
    method = package.sampling.DPS(
        diffpir.Model(denoise), num_steps=steps, dtype=torch.float32, device=y.device
    )
    shifted = (y + diffpir.RANGE * middle)[:, None]
    found = method(shifted, diffpir.physics(projector, 2 * diffpir.RANGE))
    return (found[:, 0] - 0.5) * (2 * diffpir.RANGE)
