"""Restoration in one pass and in a few, and DDX that begins with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.diffusion import Ddx
from ddgm.core.methods.method import MethodError, Problem
from ddgm.core.methods.restoration import LEFT, Restore, restored, tikhonov
from ddgm.core.numbers import NumberError
from ddgm.core.projectors import projector
from ddgm.core.simulation.noise import NoiseField, numbered_origins

GEOMETRY = TiltGeometry.uniform(16, 24, views=9, detector="lateral")
SIGMA = 2.0


def problem(**given: object) -> Problem:
    """Two slices of white noise, which is what a Tikhonov reconstruction takes slices for."""
    a = projector(GEOMETRY)
    x = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0))
    y = a.forward(x) + SIGMA * torch.randn(2, 9, GEOMETRY.bins, generator=torch.Generator())
    field = NoiseField(0, "sampler")

    def noise(n: int) -> Tensor:
        return field.batch((16, 24), numbered_origins(2), n)

    parts = {"denoise": halve, "restore": halve} | given
    return Problem(a, y, noise=noise, tilt_noise=SIGMA, **parts)  # type: ignore[arg-type]


def halve(x: Tensor) -> Tensor:
    """Takes half of an image for its error."""
    return x / 2


def test_a_tikhonov_reconstruction_solves_its_normal_equations() -> None:
    p = problem()
    a = p.projector
    z = tikhonov(a.proximal(p.y), torch.zeros(2, 16, 24), SIGMA)
    # on the wide slab that the projector solves on, what lies outside of the slice is free
    expected = a.proximal(p.y)(torch.zeros(2, 16, 24), SIGMA**2)
    assert torch.equal(z, expected)
    off = a.adjoint(a.forward(z) - p.y) + SIGMA**2 * z
    middle = off[..., 8:16]  # a reach of 14 pixels leaves none that the sides have no part in
    assert float(middle.abs().mean()) < 0.2 * float(a.adjoint(p.y).abs().mean())


def test_the_networks_error_is_taken_away_once() -> None:
    p = problem()
    solve, like = p.projector.proximal(p.y), torch.zeros(2, 16, 24)
    x = restored(solve, halve, like, SIGMA)
    assert torch.equal(x, tikhonov(solve, like, SIGMA) / 2)
    assert torch.equal(Restore().sample(p)[0], x)


def test_the_method_is_one_evaluation_without_noise() -> None:
    method, seen = Restore(), []
    assert (method.evaluations, method.rounds, method.draws) == (1, 1, 0)
    assert method.networks == ("restorer",)
    method.sample(problem(progress=lambda n, x: seen.append(n)))
    assert seen == [0]


def test_each_further_pass_begins_with_a_data_step() -> None:
    p, method, seen = problem(), Restore(passes=3), list[int]()
    solve, x = p.projector.proximal(p.y), torch.zeros(2, 16, 24)
    variance = 1.0
    for _ in range(3):
        x, variance = solve(x, SIGMA**2 / variance) / 2, LEFT
    assert torch.equal(method.sample(p)[0], x)
    assert (method.evaluations, method.rounds, method.draws) == (3, 3, 0)
    assert (method.passes_of_restorer, Ddx(start="restored").passes_of_restorer) == (3, 1)
    assert Ddx().passes_of_restorer == 0
    method.sample(problem(progress=lambda n, x: seen.append(n)))
    assert seen == [0, 1, 2]


def test_a_method_of_no_pass_is_refused() -> None:
    with pytest.raises(NumberError, match="passes"):
        Restore(passes=0)


def test_ddx_goes_on_from_the_restored_image() -> None:
    """With ρσ² near 0 a data step leaves x as it is, so only the fresh noise is new."""
    ddx = Ddx(start="restored", steps=1, sigma=(0.1, 0.1), rho=1e-6, kappa=1e-6)
    x, restored_only = ddx.sample(problem(denoise=torch.zeros_like))[0], Restore().sample(problem())
    fresh = 0.1 * problem().noise(0)
    assert torch.allclose(x - fresh, restored_only[0], atol=1e-3)


def test_ddx_counts_the_evaluation_before_its_levels() -> None:
    seen: list[int] = []
    ddx = Ddx(start="restored", steps=3, sigma=(0.5, 0.1), samples=2)
    assert (ddx.evaluations, ddx.rounds, ddx.draws) == (4, 8, 3)
    assert ddx.networks == ("denoiser", "restorer")
    ddx.sample(problem(progress=lambda n, x: seen.append(n)))
    assert seen == list(range(8))


def test_ddx_goes_on_from_an_image_of_several_passes() -> None:
    seen: list[int] = []
    ddx = Ddx(start="restored", passes=2, steps=1, sigma=(0.1, 0.1), rho=1e-6, kappa=1e-6)
    x = ddx.sample(problem(denoise=torch.zeros_like, progress=lambda n, x: seen.append(n)))[0]
    twice = Restore(passes=2).sample(problem())[0]
    assert torch.allclose(x - 0.1 * problem().noise(0), twice, atol=1e-3)
    assert (ddx.evaluations, seen) == (3, [0, 1, 2])
    assert ddx.settings.endswith(", from a restored image of 2 passes")
    with pytest.raises(MethodError, match="passes: 2 are of a restored start; set start: restored"):
        Ddx(passes=2)


def beside(x: Tensor) -> Tensor:
    """Of three neighbours half of the one before the middle."""
    return x[:, :1] / 2


beside.channels = 3  # pyright: ignore[reportFunctionMemberAccess]


def test_a_network_that_sees_neighbours_is_given_them() -> None:
    p, method = problem(restore=beside), Restore(channels=3)
    z = tikhonov(p.projector.proximal(p.y), torch.zeros(2, 16, 24), SIGMA)
    assert torch.equal(method.sample(p)[0], z - z.flip(0) / 2)  # reflected: 1, 0, 1, 0
    assert method.couples_slices
    assert not Restore().couples_slices
    assert (Restore(passes=3, channels=5).reach, Restore(passes=3).reach) == (6, 0)
    ddx = Ddx(start="restored", channels=3, steps=1, sigma=(0.1, 0.1), rho=1e-6, kappa=1e-6)
    x = ddx.sample(problem(restore=beside, denoise=torch.zeros_like))[0]
    assert torch.allclose(x - 0.1 * p.noise(0), method.sample(p)[0], atol=1e-3)
    assert ddx.reach == 1
    assert Ddx(start="restored", channels=3, planes="alternate").reach is None
    with pytest.raises(MethodError, match="channels: 3 are of a restored start"):
        Ddx(channels=3)


def test_ddx_without_a_start_calls_no_restorer() -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError

    assert Ddx().networks == ("denoiser",)
    Ddx(steps=2).sample(problem(restore=never))


def test_another_start_is_refused() -> None:
    with pytest.raises(MethodError, match="start: 'cold' must be zero or restored"):
        Ddx(start="cold")  # type: ignore[arg-type]
