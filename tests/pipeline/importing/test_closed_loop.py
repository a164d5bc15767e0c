"""Files that ddgm did not write, imported and run, are as good as the same tilts simulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.imported.loop import closed_loop

FIB25 = Path(__file__).parents[3] / "fib25/heldout.npy"


@pytest.mark.long
def test_an_imported_series_is_within_5_percent_of_the_same_simulated(tmp_path: Path) -> None:
    if not FIB25.exists():
        pytest.skip("no fib25 beside the checkout")
    found = closed_loop(FIB25, tmp_path, "gradient_descent", slices=4)
    assert found["measured"] < 1.05 * found["inside"]
