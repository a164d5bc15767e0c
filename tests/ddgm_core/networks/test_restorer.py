"""Networks that restore: their cards, and what they are refused for."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ddgm.core.geometry import TiltGeometry
from ddgm.core.networks.conditions import TILTS, Conditions, ConditionsRange, conditions_of
from ddgm.core.networks.prior import (
    PriorCard,
    PriorError,
    card_of,
    load_prior,
    read_card,
    save_prior,
)
from ddgm.core.networks.restorer import check_restorer, load_restorer
from ddgm.core.networks.unet import Architecture
from tests.ddgm_core.sample_networks import random_network

PAPER = Conditions("perpendicular")
LATERAL = Conditions("lateral")
WIDER = replace(LATERAL, range=ConditionsRange((64, 160), (50.0, 70.0), (2.0, 10.0)))
CARD = PriorCard(Architecture(width=8, levels=2, convolutions=2), 128.0, 34.0, 16.0, patch=16)


def lateral(views: int, first: float, last: float) -> TiltGeometry:
    return TiltGeometry.uniform(128, 300, views, (first, last), "lateral")


def saved(folder: Path, restores: Conditions | None) -> str:
    path = folder / f"{'restorer' if restores else 'denoiser'}.safetensors"
    save_prior(path, random_network(CARD.architecture), replace(CARD, restores=restores))
    return str(path)


def test_a_card_keeps_the_tilt_series(tmp_path: Path) -> None:
    conditions = Conditions("lateral", 16, 48, views=7, degrees=(-50.0, 40.0), tilt_noise=2.5)
    assert read_card(saved(tmp_path, conditions)).restores == conditions
    assert load_restorer(saved(tmp_path, conditions)).card.restores == conditions
    assert read_card(saved(tmp_path, None)).restores is None


def test_a_denoisers_card_is_as_it_was(tmp_path: Path) -> None:
    """So that its file has the same bytes as before there were networks that restore."""
    written = Path(saved(tmp_path, None)).read_bytes()
    assert not any(name in written for name in (b"restores", b"passes", b"unshuffle"))


def test_a_card_keeps_squares_of_pixels_and_passes(tmp_path: Path) -> None:
    architecture = replace(CARD.architecture, unshuffle=2)
    card = replace(CARD, architecture=architecture, restores=PAPER, passes=3)
    save_prior(tmp_path / "mine.safetensors", random_network(architecture), card)
    assert load_restorer(str(tmp_path / "mine.safetensors")).card == card


@pytest.mark.parametrize(
    ("architecture", "passes", "said"),
    [({"unshuffle": 0}, 1, "unshuffle: 0 is not from 1"), ({}, 0, "passes: 0 is not from 1")],
)
def test_a_card_of_no_possible_network_is_refused(
    architecture: dict[str, Any], passes: int, said: str
) -> None:
    fields = asdict(replace(CARD, passes=passes))
    fields["architecture"] |= architecture
    with pytest.raises(ValueError, match=said):
        card_of(fields)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"width": 0}, "restores.width: 0 is not from 1 to 65536"),
        ({"views": 2.5}, "restores.views: 2.5 is not from 1"),
        ({"detector": "round"}, "restores.detector: 'round' is none"),
        ({"degrees": [60.0, -60.0]}, "restores.degrees: [60.0, -60.0] must rise within -90"),
        ({"degrees": [-95.0, 60.0]}, "restores.degrees: [-95.0, 60.0] must rise within -90"),
        ({"tilt_noise": 0.0}, "restores.tilt_noise: 0.0 is not above 0"),
    ],
)
def test_a_card_of_no_possible_tilt_series_is_refused(changed: dict[str, Any], said: str) -> None:
    fields = {"detector": "lateral", "thickness": 16, "width": 48, "views": 7}
    fields |= {"degrees": [-60.0, 60.0], "tilt_noise": 4.1}
    with pytest.raises(ValueError, match=re.escape(said)):
        conditions_of(fields | changed)


@pytest.mark.parametrize(
    ("trained", "given", "noise", "said"),
    [
        (PAPER, TiltGeometry.uniform(128, 128), 4.1, None),
        (PAPER, TiltGeometry.uniform(128, 129), 4.1, "width 128, not 129"),
        (PAPER, TiltGeometry.uniform(127, 128), 4.1, "thickness 128, not 127"),
        (PAPER, TiltGeometry.uniform(128, 128), 8.2, "noise 4.1, not 8.2"),
        (PAPER, TiltGeometry.uniform(128, 128, views=64), 4.1, "views 128, not 64"),
        (
            PAPER,
            TiltGeometry.uniform(128, 128, degrees=(-50, 50)),
            4.1,
            "degrees -60 to 60, not -50 to 50",
        ),
        (
            PAPER,
            TiltGeometry.uniform(128, 128, detector="lateral"),
            4.1,
            "detector perpendicular, not lateral",
        ),
        (PAPER, TiltGeometry.uniform(128, 128, aspect=2.5), 4.1, "aspect 1, not 2.5"),
        (LATERAL, TiltGeometry.uniform(128, 1568, detector="lateral"), 4.1, None),
        (WIDER, TiltGeometry.uniform(128, 300, detector="lateral"), 4.1, None),
        (WIDER, lateral(64, -70, 50), 10.0, None),
        (WIDER, lateral(63, -60, 60), 4.1, "views 64 to 160, not 63"),
        (WIDER, lateral(64, -71, 50), 4.1, "first degrees -70 to -50, not -71"),
        (WIDER, lateral(64, -60, 49), 4.1, "last degrees 50 to 70, not 49"),
        (WIDER, lateral(64, -60, 60), 10.5, "noise 2 to 10, not 10.5"),
        (WIDER, TiltGeometry.uniform(128, 300), 4.1, "detector lateral, not perpendicular"),
    ],
)
def test_other_tilt_series_are_named_with_both_values(
    trained: Conditions, given: TiltGeometry, noise: float, said: str | None
) -> None:
    assert trained.difference(given, noise) == said


def test_uneven_tilts_are_others() -> None:
    angles = list(PAPER.geometry.angles)
    angles[5] += 0.01
    uneven = replace(PAPER.geometry, angles=tuple(angles))
    assert PAPER.difference(uneven, 4.1) == "evenly spaced tilts, not uneven ones"


def test_uneven_tilts_are_outside_of_any_range() -> None:
    angles = list(LATERAL.geometry.angles)
    angles[5] += 0.01
    uneven = replace(LATERAL.geometry, angles=tuple(angles))
    assert WIDER.difference(uneven, 4.1) == "evenly spaced tilts, not uneven ones"


def test_what_a_training_draws_lies_in_the_range() -> None:
    drawn = [WIDER.drawn(0, update) for update in range(200)]
    assert all(WIDER.difference(c.geometry, c.tilt_noise) is None for c in drawn)
    assert len({c.geometry for c in drawn}) == TILTS
    assert len({c.tilt_noise for c in drawn}) == 200
    assert sum(c.tilt_noise < 20**0.5 for c in drawn) == pytest.approx(100, abs=25)  # of its log
    assert [WIDER.drawn(0, update) for update in range(3)] == drawn[:3]
    assert WIDER.drawn(1, 0) != drawn[0]
    assert LATERAL.drawn(0, 5) == LATERAL


def test_a_card_keeps_the_range(tmp_path: Path) -> None:
    card = load_restorer(saved(tmp_path, WIDER)).card
    assert card.restores == WIDER
    assert b"range" not in Path(saved(tmp_path, LATERAL)).read_bytes().replace(b"sigma_range", b"")
    assert WIDER.described == (
        "detector lateral, slices 128 pixels thick, 64 to 160 views, tilted to 50 to 70 degrees "
        "either way, noise 2 to 10"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"views": [64, 63]}, "restores.range.views: [64, 63] must rise"),
        ({"views": [6.5, 64]}, "restores.range.views: [6.5, 64] must rise"),
        ({"degrees": [50.0, 90.0]}, "restores.range.degrees: [50.0, 90.0] must rise, up to 89.99"),
        ({"tilt_noise": [0.0, 4.1]}, "restores.range.tilt_noise: [0.0, 4.1] must rise"),
    ],
)
def test_a_range_of_no_possible_tilt_series_is_refused(changed: dict[str, Any], said: str) -> None:
    fields = {"views": [64, 160], "degrees": [50.0, 70.0], "tilt_noise": [2.0, 10.0]}
    with pytest.raises(ValueError, match=re.escape(said)):
        conditions_of(asdict(LATERAL) | {"range": fields | changed})


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    card, tilts = replace(CARD, restores=PAPER), PAPER.geometry
    check_restorer("mine", card, CARD, tilts, 4.1, 1)
    with pytest.raises(PriorError, match=r"prior.restorer: mine was trained to restore noise 4.1"):
        check_restorer("mine", card, CARD, tilts, 4.0, 1)
    with pytest.raises(PriorError, match=r"mean 128 and standard deviation 34, and prior.weights"):
        check_restorer("mine", card, replace(CARD, mean=100.0), tilts, 4.1, 1)
    with pytest.raises(PriorError, match=r"voxels of 16 nm, and prior.weights on 8 nm"):
        check_restorer("mine", card, replace(CARD, voxel_size_nm=8.0), tilts, 4.1, 1)
    with pytest.raises(PriorError, match=r"trained for passes: 1, and the method has 3"):
        check_restorer("mine", card, CARD, tilts, 4.1, 3)
    with pytest.raises(PriorError, match=r"channels: 1, and the method has 3; set method.channels"):
        check_restorer("mine", card, CARD, tilts, 4.1, 1, 3)


def test_a_network_of_the_other_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"prior.restorer: .* is a prior, which denoises"):
        load_restorer(saved(tmp_path, None))
    restorer = load_prior(saved(tmp_path, PAPER))
    with pytest.raises(PriorError, match=r"prior.weights: its network restores tilt series"):
        restorer.card.check_denoises("prior.weights")


def test_a_restorer_that_is_not_there_is_named_by_its_field(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"prior.restorer: 'nowhere' is neither a shipped prior"):
        load_restorer("nowhere")
    with pytest.raises(PriorError, match=r"prior.restorer_sha256: .* the spec wants 00"):
        load_restorer(saved(tmp_path, PAPER), "00")
