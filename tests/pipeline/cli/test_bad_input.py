"""Every kind of bad input: one line, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddgm.core.networks.prior import PriorCard, save_prior
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import run_ddgm, small_spec, spec_data

BAD = [
    ({"prior": {"colour": 1}}, "prior.colour: unknown key"),
    ({"source": {"box": {"z": [0, 40], "y": [20, 160], "x": [7, 23]}}}, "is not inside the volume"),
    ({"source": {"mip": 3}}, "the volume has mip 0"),
    ({"source": {"url": "precomputed://file:///not/there"}}, "not found"),
    ({"source": {"url": "precomputed://http://127.0.0.1:9"}}, "unreachable"),
    ({"prior": {"sha256": "0" * 64}}, "prior.sha256"),
    ({"prior": {"weights": "nonesuch"}}, "'nonesuch' is neither a shipped prior"),
    ({"prior": {"stride": 33}}, "prior.stride: 33 is more than the prior's patch"),
    ({"method": {"step": {"absolute": 1.0}}}, "method.step: 1 would diverge"),
    ({"algebraic": {"step": {"relative": 2.5}}}, "algebraic.step: "),
    ({"method": {"sigma": [40.0, 0.03]}}, "method.sigma: [40.0, 0.03] is not within"),
    ({"slab": {"thickness": 65}}, "slab.thickness: 65 is more than the box's 64"),
    ({"cluster": {"kind": "scheduler_file", "path": "/not/there.json"}}, "no scheduler file"),
    ({"cluster": {"security": {"ca": "a", "cert": "b"}}}, "cluster.security.key: required"),
    ({"pool": {"placement": "some"}}, "pool.placement: input should be 'whole' or 'calls'"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    change: dict[str, dict[str, Any]],
    message: str,
) -> None:
    bound_http(attempts=2, backoff=0.0)
    data = spec_data(volume, tmp_path / "run", tiny_prior, **change)
    if "scheduler_file" in str(change):
        data["cluster"] = change["cluster"]
    status, _, err = run_ddgm(capsys, "run", write_spec(tmp_path, data))
    bound_http()
    assert status == {"unreachable": 5, "no scheduler file": 4}.get(message, 1)
    assert message in one_line(err)
    ledger = tmp_path / "run" / "ledger"
    assert not ledger.exists()


def test_weights_that_do_not_fit_their_card_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, volume: str
) -> None:
    weights = tmp_path / "odd.safetensors"
    save_prior(weights, UNet(Architecture(width=8)), PriorCard(Architecture(width=16), 1, 1, 16))
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", weights))
    status, _, err = run_ddgm(capsys, "run", path)
    assert status == 1
    assert "does not fit its architecture" in one_line(err)
    assert not (tmp_path / "run").exists()


def test_an_output_of_another_spec_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    run_alone(small_spec(volume, tmp_path / "run", tiny_prior), 0)
    files = sorted(p for p in (tmp_path / "run").rglob("*") if p.is_file())
    data = spec_data(volume, tmp_path / "run", tiny_prior, tilts={"seed": 1})
    data["method"]["steps"] = 4
    status, _, err = run_ddgm(capsys, "run", write_spec(tmp_path, data))
    assert status == 1
    keys = "tilts.seed is 0 there and 1 here, method.steps is 3 there and 4 here"
    assert f"belongs to another spec, code or weights: {keys};" in err
    assert one_line(err)
    assert "--overwrite" in err
    assert sorted(p for p in (tmp_path / "run").rglob("*") if p.is_file()) == files


def test_a_password_on_the_command_line_is_refused_and_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run_ddgm(capsys, "status", "s3://key:hush/hush@bucket/run")
    assert status == 1
    assert "take it out" in one_line(err)
    assert "hush" not in out + err


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_a_folder_without_a_run_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    status, _, err = run_ddgm(capsys, command, tmp_path)
    assert status == 1
    assert "no run.json" in one_line(err)
