"""What deepinv is given: our operator, data and network, in its units."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.rivals import deepinv as diffpir
from ddgm.core.methods.rivals.deepinv import RANGE, DeepinvError, import_deepinv
from ddgm.core.projectors import FourierProjector


def test_a_package_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepinv", None)
    with pytest.raises(DeepinvError, match=r"pip install 'ddgm\[compare\]'"):
        import_deepinv()


def test_deepinvs_denoiser_is_our_network_in_its_units() -> None:
    """A network that knows the noise takes it away, in an image between 0 and 1."""
    clean, noise, sigma = torch.rand(2, 1, 8, 8), torch.randn(2, 1, 8, 8), torch.tensor(0.2)

    def denoise(x: Tensor) -> Tensor:
        expected = (clean - 0.5) * (2 * RANGE) + sigma * (2 * RANGE) * noise
        torch.testing.assert_close(x, expected)
        return noise

    found = diffpir.Model(denoise)(clean + sigma * noise, sigma)
    torch.testing.assert_close(found, clean)


def test_deepinv_is_given_our_operator_and_data_in_its_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All but deepinv itself, in whose place stands what knows the answer."""
    a = FourierProjector(TiltGeometry.uniform(12, 16, 9, detector="lateral"))
    truth, given = torch.randn(2, 12, 16), dict[str, Any]()

    def method(y: Tensor, physics: Any, x_init: Tensor) -> Tensor:
        given.update(y=y, physics=physics, start=x_init)
        return (truth / (2 * RANGE) + 0.5)[:, None]

    stand_in = SimpleNamespace(
        physics=SimpleNamespace(LinearPhysics=SimpleNamespace),
        optim=SimpleNamespace(data_fidelity=SimpleNamespace(L2=object)),
        sampling=SimpleNamespace(DiffPIR=lambda *_, **__: method),
    )
    monkeypatch.setattr(diffpir, "import_deepinv", lambda: stand_in)
    found = diffpir.solve(a, a.forward(truth), lambda x: x, 4.1, steps=2, zeta=0.3, lam=7.0)
    torch.testing.assert_close(found, truth)
    images, physics = (truth / (2 * RANGE) + 0.5)[:, None], given["physics"]
    torch.testing.assert_close(physics.A(images), given["y"], rtol=1e-4, atol=1e-2)
    back = physics.A_adjoint(given["y"])
    assert back.shape == given["start"].shape == images.shape
    left, right = (physics.A(images) * given["y"]).sum(), (images * back).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)
