"""`ddgm train` with `restore`: a card that runs accept, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import ddgm
from ddgm.core.errors import DdgmError
from ddgm.core.geometry import TiltGeometry
from ddgm.core.networks.restorer import load_restorer
from ddgm.pipeline.training.data import open_region
from tests.pipeline.training.specs import rows, trained, training_spec, volume

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("no_long_waits")]

RANGE: dict[str, Any] = {"views": [5, 9], "degrees": [50.0, 70.0], "noise": [2.0, 8.0]}
AS_PRIOR = {"intensity": {"mean": 128.0, "std": 34.0}}
TILTS: dict[str, Any] = {"detector": "lateral", "width": 24, "views": 7, "passes": 2}


def test_a_network_of_neighbours_and_a_range_restores_any_of_it(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = volume(tmp_path / "em")
    validation = {"url": url, "patches": 3, "every": 12}
    parts = {"restore": TILTS | {"range": RANGE}, "validation": validation}
    spec = training_spec(url, tmp_path / "out", AS_PRIOR, network={"channels": 3}, **parts)
    folder = trained(spec)
    assert [row["step"] for row in rows(folder / "validation.csv")] == [12]
    path = str(folder / "prior.safetensors")
    card = load_restorer(path).card
    assert (card.passes, card.architecture.channels) == (2, 3)
    method = {"name": "restore", "passes": 2, "channels": 3}
    prior = ddgm.load_prior(str(tiny_prior))
    prior = replace(prior, card=replace(prior.card, voxel_size_nm=card.voxel_size_nm))

    def restored(views: int, degrees: tuple[float, float]) -> np.ndarray:
        tilts = TiltGeometry.uniform(16, 40, views, degrees, "lateral")
        y = ddgm.simulate(np.zeros((4, 16, 40)), tilts, noise=8.0)
        return ddgm.reconstruct(y, tilts, prior, method, 8.0, restorer=path, stride=16)

    assert np.isfinite(restored(5, (-70.0, 50.0))).all()
    assert np.isfinite(restored(9, (-50.0, 60.0))).all()
    with pytest.raises(DdgmError, match="trained to restore views 5 to 9, not 10"):
        restored(10, (-60.0, 60.0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"views": [9, 5]}, r"range.views: \[9, 5\] must rise"),
        ({"noise": [0.0, 5.0]}, r"range.noise: \[0.0, 5.0\] must rise"),
        ({"views": [8, 9]}, "range: views 8 to 9, not 7, as is validated on; widen it"),
        ({"degrees": [61.0, 70.0]}, "range: first degrees -70 to -61, not -60, as is"),
    ],
)
def test_a_range_without_what_is_validated_on_is_refused(
    changed: dict[str, Any], said: str
) -> None:
    tilts = TILTS | {"range": RANGE | changed}
    with pytest.raises(ValidationError, match=said):
        training_spec("file:///none", "out", restore=tilts)


@pytest.mark.parametrize("degrees", [[-95.0, 60.0], [60.0, -60.0]])
def test_tilts_that_no_card_can_hold_are_refused_before_a_training(degrees: list[float]) -> None:
    with pytest.raises(ValidationError, match=r"degrees: \[.*0\] must rise within -90 and 90"):
        training_spec("file:///none", "out", restore=TILTS | {"degrees": degrees})


def test_a_volume_that_is_too_thin_for_the_neighbours_is_refused(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (4, 40, 36))
    spec = training_spec(url, tmp_path / "out", network={"channels": 3}, restore=TILTS)
    with pytest.raises(DdgmError, match=r"data.volumes\[0\]: .* holds no .*16 x .*x 5"):
        open_region(spec, spec.data.volumes[0], "data.volumes[0]")
