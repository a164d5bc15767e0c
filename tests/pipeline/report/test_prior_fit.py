"""The report, and the screen, say whether the prior fits what it was used on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ddgm.core.metrics.tissue import load_tissue, save_tissue, tissue_path
from ddgm.pipeline.cli import outputs
from ddgm.pipeline.report.trust import prior_fit
from ddgm.pipeline.report.write import write_report
from tests.pipeline.pages import Page
from tests.pipeline.report.reported import change_metrics

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unpainted")]


@pytest.fixture
def known(runs: Path, run: str) -> Iterator[str]:
    """The run, with statistics of tissue beside the weights of its prior."""
    weights = runs / "prior.safetensors"
    save_tissue(weights, load_tissue("small"))
    yield run
    tissue_path(weights).unlink()


def test_page_and_screen_say_it_in_the_same_words(known: str) -> None:
    change_metrics(known, "residual", [2.75] * 8)
    said = list[str]()
    write_report(known, said.append)
    (verdict,) = said
    assert verdict.startswith("This prior does not fit these data: ")
    assert "its views are off by 2.75 times the noise's power, up to 2 fits" in verdict
    shown = Page((Path(known) / "report.html").read_text())
    assert verdict in shown.text
    assert f'<p class="warn">{verdict}</p>'.replace("'", "&#39;") in shown.html


def test_the_slices_are_held_against_the_prior_s_tissue(
    known: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, tissue = list[str](), load_tissue("small")
    louder = replace(tissue, slices=tuple(100 * power for power in tissue.slices))
    save_tissue(runs / "prior.safetensors", louder)
    write_report(known, said.append)
    assert "the power is" not in said[0]  # eight neighbours are too little
    monkeypatch.setattr(prior_fit, "SPAN", 0)
    write_report(known, said.append)
    assert re.search(r"the power is 0\.0\d+ times that of the prior's tissue", said[1])


def test_without_statistics_of_tissue_it_is_not_known(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(outputs.console, "print", said.append)
    outputs.report(run)
    assert said[0].startswith("Whether the prior fits these data is not known: prior.weights: ")
    assert "has no statistics of its tissue" in said[0]
    assert said[1] == f"wrote {run}/report.html"
