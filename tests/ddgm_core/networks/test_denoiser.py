"""Priors survive the disk bit by bit, and what is wrong with one is said in one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import (
    FORMAT,
    PriorCard,
    PriorError,
    file_digest,
    load_prior,
    read_card,
    save_prior,
    weights_path,
)
from ddgm.core.networks.unet import Architecture, UNet
from tests.ddgm_core.sample_networks import random_network

ARCHITECTURE = Architecture(width=8, levels=3, convolutions=2)
CARD = PriorCard(
    ARCHITECTURE,
    mean=128.25,
    std=33.1,
    voxel_size_nm=16.0,
    patch=32,
    sigma_range=(0.05, 20.0),
    training={"origin": "a test", "steps": 3, "volumes": {"a.npy": 0.5}},
)


@pytest.fixture
def network() -> UNet:
    return random_network(ARCHITECTURE)


@pytest.fixture
def path(tmp_path: Path, network: UNet) -> Path:
    save_prior(tmp_path / "prior.safetensors", network, CARD)
    return tmp_path / "prior.safetensors"


def complaint(path: Path | str, sha256: str | None = None) -> str:
    """The error of loading, which names a field, the value, and after a semicolon the remedy."""
    with pytest.raises(PriorError) as caught:
        load_prior(str(path), sha256)
    message = str(caught.value)
    assert message.startswith(("prior.weights: ", "prior.sha256: "))
    assert str(path) in message
    assert "\n" not in message
    remedy = message.rpartition("; ")[2]
    assert remedy.startswith(("fetch", "use", "give", "train", "the file was altered"))
    return message


def rewritten(path: Path, card: str | dict | None, format: str | None = FORMAT) -> Path:
    """The same weights, with other metadata."""
    metadata = {"format": format, "card": card}
    known = {k: v for k, v in metadata.items() if v is not None}
    save_file(load_file(path), path, {"ddgm": json.dumps(known)} if known else None)
    return path


def test_the_same_weights_are_the_same_file(tmp_path: Path, network: UNet) -> None:
    for name in "abcd":
        save_prior(tmp_path / name, network, CARD)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1


def test_what_is_saved_is_loaded_bit_by_bit(path: Path, network: UNet) -> None:
    prior = load_prior(str(path))
    assert prior.card == CARD
    assert read_card(str(path)) == CARD
    loaded, saved = prior.network.state_dict(), network.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[k], saved[k]) for k in saved)
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(prior.network(x), network(x))


def test_the_digest_is_that_of_the_file(path: Path) -> None:
    digest = load_prior(str(path)).digest
    assert digest == file_digest(path)
    assert load_prior(str(path), digest.upper()).digest == digest


def test_weights_in_another_format_are_saved_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_prior(path, random_network(ARCHITECTURE).bfloat16(), CARD)
    assert all(v.dtype == torch.float32 for v in load_file(path).values())


def test_saving_leaves_no_partial_file(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] == ["prior.safetensors"]


def test_a_failed_save_leaves_the_old_file_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, write = file_digest(path), Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_prior(path, random_network(ARCHITECTURE, seed=1), CARD)
    assert load_prior(str(path)).digest == digest


def test_a_wrong_sha256_is_refused_with_both(path: Path) -> None:
    wanted = "0" * 64
    message = complaint(path, wanted)
    assert message.startswith("prior.sha256: ")
    assert wanted in message
    assert file_digest(path) in message


@pytest.mark.parametrize("kept", [0, 4, 100, -1000, -1])
def test_a_truncated_file_is_damaged(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    assert "damaged" in complaint(path)


@pytest.mark.parametrize("content", [b"garbage" * 99, b"\x10" + b"\0" * 7 + b"\nnot\njson...\n\n"])
def test_a_file_of_another_kind_is_damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "damaged" in complaint(path)


@pytest.mark.parametrize("format", [None, "somebody-elses-1"])
def test_a_foreign_safetensors_file_is_refused(path: Path, format: str | None) -> None:
    assert repr(format) in complaint(rewritten(path, asdict(CARD), format))


@pytest.mark.parametrize(
    "card",
    [
        "not json",
        "null",
        "[1, 2]",
        {},
        {k: v for k, v in asdict(CARD).items() if k != "mean"},
        asdict(CARD) | {"colour": "blue"},
        asdict(CARD) | {"architecture": {"depth": 3}},
        asdict(CARD) | {"sigma_range": 3},
        asdict(CARD) | {"architecture": asdict(ARCHITECTURE) | {"width": "8"}},
    ],
)
def test_a_card_that_cannot_be_read_is_named(path: Path, card: str | dict) -> None:
    assert "card" in complaint(rewritten(path, card))


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 16},
        {"levels": 4},
        {"levels": 2},
        {"convolutions": 4},
        {"groups": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_weights_that_do_not_fit_their_card_are_refused(
    path: Path, network: UNet, changes: dict
) -> None:
    other = replace(ARCHITECTURE, **changes)
    save_prior(path, network, replace(CARD, architecture=other))
    assert str(other) in complaint(path)


@pytest.mark.parametrize("name", ["no-such-prior", "no/such/file.safetensors", "", "~/nothing"])
def test_an_unknown_name_is_refused(name: str) -> None:
    assert "neither a shipped prior" in complaint(name)


def test_a_folder_is_no_prior(tmp_path: Path) -> None:
    assert "neither" in complaint(tmp_path)


def test_shipped_priors_go_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddgm.core.networks.prior.SHIPPED", path.parent)
    assert weights_path("prior") == path
    assert "(prior)" in complaint("priar")


def test_shipped_names_lead_nowhere_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.parent / "shipped").mkdir()
    monkeypatch.setattr("ddgm.core.networks.prior.SHIPPED", path.parent / "shipped")
    complaint("../prior")


@pytest.mark.parametrize("sigma", [0.03, 1.0, 30.0])
def test_bfloat16_is_close_to_float32(network: UNet, sigma: float) -> None:
    """1 % apart measured, with random weights."""
    x = sigma * torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    exact, fast = NetworkDenoiser(network)(x), NetworkDenoiser(network, "bfloat16")(x)
    assert exact.dtype == fast.dtype == torch.float32
    assert not torch.equal(exact, fast)
    assert (fast - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_what_is_predicted_is_unscaled(network: UNet, scale: float) -> None:
    x = torch.randn(2, 1, 32, 32)
    denoise = NetworkDenoiser(network)
    assert torch.allclose(denoise(scale * x), denoise(x), atol=1e-4)


def test_a_network_runs_without_gradients_and_keeps_its_input(network: UNet) -> None:
    x = torch.randn(2, 1, 32, 32)
    before = x.clone()
    assert not NetworkDenoiser(network.requires_grad_(True))(x).requires_grad
    assert torch.equal(x, before)


def test_the_prior_for_tests_loads(tiny_prior: Path) -> None:
    prior = load_prior(str(tiny_prior))
    assert prior.card.architecture.width == 8
    assert prior.network(torch.randn(1, 1, 32, 32)).std() > 0.01
