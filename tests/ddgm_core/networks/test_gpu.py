"""What a GPU does instead is the same: kernels, recordings, noise and projectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.samplers import ddgm
from ddgm.core.methods.schedules import log_linear
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import PriorError, load_prior
from ddgm.core.networks.tiling import TiledDenoiser
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.core.projectors import projector
from ddgm.core.simulation.noise import NoiseField
from tests.ddgm_core.sample_networks import random_network

PLACES = [(0, 0, i) for i in range(3)]


def relative(x: Tensor, reference: Tensor) -> float:
    return float((x.cpu() - reference.cpu()).norm() / reference.cpu().norm())


def networks() -> list[UNet]:
    shapes = Architecture(width=32), Architecture(width=64, levels=4, convolutions=2, groups=4)
    return [random_network(a) for a in shapes]


def noisy(count: int, side: int = 128, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, side, side, generator=generator)
    return x * torch.logspace(-1, 1, count)[:, None, None, None]


def test_float8_is_refused_where_there_is_none_and_not_before() -> None:
    denoise = NetworkDenoiser(random_network(Architecture(width=32)), "float8", "cpu")
    with pytest.raises(PriorError, match=r"prior\.precision: float8 needs a GPU"):
        denoise(noisy(1))


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 0.01), ("float8", 0.05)])
@pytest.mark.parametrize("prior", ["small", "full"])
@pytest.mark.parametrize("side", [64, 128])
def test_the_fused_network_is_the_plain_one(
    prior: str, side: int, precision: Precision, most: float
) -> None:
    x = noisy(5, side)
    plain = NetworkDenoiser(load_prior(prior).network)(x)
    fused = NetworkDenoiser(load_prior(prior).network, precision, "cuda")
    assert fused._fast is not None
    assert fused._fast.work.supports(x)
    assert relative(fused(x.cuda()), plain) < most


@pytest.mark.gpu
def test_the_fused_network_is_closer_to_the_plain_one_than_autocast_is() -> None:
    x, network = noisy(5), networks()[1]
    plain = NetworkDenoiser(network)(x)
    fused = NetworkDenoiser(networks()[1], "bfloat16", "cuda")(x.cuda())
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        cast = network.cuda()(x.cuda()).float()
    assert relative(fused, plain) < relative(cast, plain)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bfloat16", "float8"])
def test_an_image_comes_out_the_same_in_any_company(precision: Precision) -> None:
    denoise = NetworkDenoiser(networks()[0], precision, "cuda")
    x, others = noisy(6).cuda(), noisy(6, seed=1).cuda()
    together = denoise(x)
    assert torch.equal(denoise(x), together)
    others[2] = x[4]
    assert torch.equal(denoise(others)[2], together[4])


@pytest.mark.gpu
def test_each_shape_has_its_recording_and_results_are_not_written_over() -> None:
    denoise = NetworkDenoiser(networks()[0], "bfloat16", "cuda")
    counts = (1, 2, 3, 4, 5, 6)  # more than are kept
    images = [noisy(n, seed=seed).cuda() for n in counts for seed in (0, 1)]
    first = [denoise(x) for x in images]
    again = [denoise(x) for x in reversed(images)]
    for x, y in zip(first, reversed(again), strict=True):
        assert torch.equal(x, y)
    assert not torch.equal(first[0], first[1])


@pytest.mark.gpu
def test_threads_that_share_a_denoiser_get_their_own_images() -> None:
    denoise = NetworkDenoiser(networks()[0], "bfloat16", "cuda")
    images = [noisy(4, seed=seed).cuda() for seed in range(8)]
    alone = [denoise(x) for x in images]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(denoise, images * 4))
    for x, y in zip(together, alone * 4, strict=True):
        assert torch.equal(x, y)


@pytest.mark.gpu
def test_sides_that_the_kernels_do_not_take_go_to_the_plain_network() -> None:
    x = torch.randn(2, 1, 96, 160, generator=torch.Generator().manual_seed(0))
    plain = NetworkDenoiser(networks()[0])(x)
    denoise = NetworkDenoiser(networks()[0], "bfloat16", "cuda")
    assert relative(denoise(x.cuda()), plain) < 0.02


@pytest.mark.gpu
def test_gradients_flow_through_the_plain_network() -> None:
    x = noisy(2).cuda().requires_grad_()
    denoise = NetworkDenoiser(networks()[0], "bfloat16", "cuda")
    (gradient,) = torch.autograd.grad(denoise(x).square().sum(), x)
    assert float(gradient.abs().max()) > 0


@pytest.mark.gpu
def test_noise_drawn_ahead_is_that_of_the_place_and_step() -> None:
    field = NoiseField(7, "sampler")
    noise = field.ahead((64, 96), PLACES, torch.device("cuda"), 6)
    for step in (0, 1, 2, 5, 3):
        assert torch.equal(noise(step).cpu(), field.batch((64, 96), PLACES, step))


@pytest.mark.gpu
def test_a_whole_solve_is_the_cpus_up_to_rounding() -> None:
    geometry = TiltGeometry.uniform(128, 320, detector="lateral")
    truth = torch.randn(3, 128, 320, generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        a = projector(geometry, device=torch.device(device))
        y = a.forward(truth.to(device))
        denoise = TiledDenoiser(FixedBatches(NetworkDenoiser(networks()[0], "float32", device), 4))
        noise = NoiseField(0, "sampler").ahead((128, 320), PLACES, torch.device(device), 6)
        sigmas = log_linear(3.0, 0.03, 6)
        with torch.inference_mode():
            found.append(ddgm(a, y, denoise, noise, sigmas, 1.42 / a.norm**2, 25))
    assert relative(found[1], found[0]) < 1e-3
