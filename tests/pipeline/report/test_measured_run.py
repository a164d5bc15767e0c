"""A measured series from its spec to a report: a whole run, without truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.view.show import layers_of, source_of
from tests.pipeline.runs import run_ddgm
from tests.pipeline.series import series_spec, stack_of

pytestmark = pytest.mark.cluster


def test_a_series_is_run_verified_reported_and_exported(
    tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mrcfile

    x = np.random.default_rng(0).normal(size=(16, 6, 48))
    files = stack_of(tmp_path, x, np.linspace(-60, 60, 25).tolist(), 48)
    spec = series_spec(tmp_path, files, 16, tiny_prior, tilts={"hold_out": 8})
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    status, out, _ = run_ddgm(capsys, "plan", tmp_path / "spec.yaml")
    assert status == 0
    assert "measured from -60 to 60" in " ".join(out.split())
    status, _, err = run_ddgm(capsys, "run", tmp_path / "spec.yaml")
    assert (status, "Traceback" in err) == (0, False)
    root = tmp_path / "run"
    columns = parquet.read_table(root / "metrics.parquet").column_names
    assert {"residual", "held_out", "algebraic_held_out"} <= set(columns)
    assert "mse" not in columns
    for command in ("status", "verify"):
        assert run_ddgm(capsys, command, root)[0] == 0
    assert run_ddgm(capsys, "export", root, "--output", tmp_path / "out.mrc")[0] == 0
    with mrcfile.open(tmp_path / "out.mrc") as exported:
        data: Any = exported.data
        assert data.shape == (16, 6, 48)
    write_report(str(root))
    page = (root / "report.html").read_text()
    assert "Nobody knows the truth" in page
    assert "25\nmeasured views" in page
    assert '<th scope="row">SSIM' not in page
    assert source_of(spec) == ("", "")
    assert set(layers_of(spec, "")) == {"reconstruction", "algebraic"}
