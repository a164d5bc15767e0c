"""What `ddgm plan` says that a run will cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data


def test_plan_says_what_a_run_costs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    # blocks of 4 slices cut chunks of 16, and 140 pixels take five chunks of 32
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", tiny_prior))
    status, out, _ = run_ddgm(capsys, "plan", path)
    assert status == 0
    for words in ("8 of 4 slices", "32 of 32 x 140", "1.14 x what is used", "time, as on this"):
        assert words in out
    assert re.search(
        r"1 GPU, \d+ cores?: .*; 4 GPUs, \d+ cores?: .* read, .* written", " ".join(out.split())
    )
    assert not (tmp_path / "run").exists()


def test_a_plan_as_json_has_the_facts_of_the_table_and_nothing_beside_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    prices = {"core_hour": 3600.0, "gb_written": 1.0}
    data = spec_data(volume, tmp_path / "run", tiny_prior, prices=prices)
    path = write_spec(tmp_path, data)
    status, out, err = run_ddgm(capsys, "plan", path, "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    expected = {
        "source": volume,
        "source_answers": True,
        "blocks": 8,
        "block_slices": 4,
        "slices": 32,
        "thickness": 32,
        "width": 140,
        "voxel_zyx_nm": [16, 16, 16],
        "left_over_voxels": {},
        "memory_limit_bytes": 4 * 2**30,
        "fits": True,
    }
    assert {key: facts[key] for key in expected} == expected
    assert facts["fetch_bytes"] / facts["needed_bytes"] == pytest.approx(1.14, abs=0.005)
    assert facts["prices"]["core_hour"] == pytest.approx(32 * facts["slice_seconds"])
    assert facts["prices"]["gb_written"] == facts["write_bytes"] / 1e9
    assert facts["price"] == pytest.approx(sum(facts["prices"].values()))
    assert sum(facts["memory_parts_bytes"].values()) == facts["memory_bytes"]
    assert facts["layer_bytes"]["truth"] == 32 * 32 * 140
    assert 0 < facts["slice_seconds"] < facts["run_seconds"]
    one, four = facts["sizes"]  # 8 blocks are too few for 16
    assert four["seconds"] == pytest.approx(one["seconds"] / 4)
    assert one["cores"] <= four["cores"] <= 4 * one["cores"]
    with_gpus = dict(data, prices={**prices, "gpu_hour": 7200.0})
    status, out, _ = run_ddgm(capsys, "plan", write_spec(tmp_path, with_gpus), "--json")
    size, paid = json.loads(out)["sizes"][0], json.loads(out)["prices"]
    assert paid["gpu_hour"] == pytest.approx(2 * size["gpus"] * size["seconds"])
    assert paid["core_hour"] == pytest.approx(size["cores"] * size["seconds"])
    write_spec(tmp_path, data)
    status, out, _ = run_ddgm(capsys, "plan", path, "--json", "--no-calibrate")
    assert facts.items() > json.loads(out).items()
    path.write_text("source: {url: em}")
    status, out, err = run_ddgm(capsys, "plan", path, "--json")
    message = one_line(err).removeprefix("error: ").rstrip("\n")
    assert (status, json.loads(out)) == (1, {"error": {"kind": "mistake", "message": message}})
    assert message.startswith(f"{path}: output: ")


def test_a_plan_for_a_cluster_elsewhere_says_what_a_block_takes_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    data = spec_data(volume, tmp_path / "run", tiny_prior, prior={"batch": 64})
    data["cluster"] = {"kind": "address", "address": "tcp://127.0.0.1:1"}  # nobody is there
    status, out, _ = run_ddgm(capsys, "plan", write_spec(tmp_path, data))
    assert status == 0
    text = " ".join(out.split())
    assert re.search(r"time of a block, as on this machine .* a run times its own", text)
    assert "batches of 64, 38% full: block.batch 32 or a multiple of it fills them" in text


def test_a_plan_that_cannot_run_is_shown_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    def planned(*words: str, **parts: dict[str, Any]) -> tuple[str, str]:
        path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", tiny_prior, **parts))
        status, out, err = run_ddgm(capsys, "plan", path, "--no-calibrate", *words)
        assert status == 1
        return out, one_line(err)

    large: dict[str, dict[str, Any]] = {"block": {"slices": 4000}, "cluster": {"memory": "2GiB"}}
    out, err = planned(**large)
    assert "NO: at most" in out
    assert re.search(r"block.slices: 4000 need .* a worker has 2.15 GB, .*; \d+ fit, or give", err)
    out, again = planned("--json", **large)
    assert again == err
    assert json.loads(out)["fits"] is False
    out, err = planned(method={"sigma": [100.0, 0.03]})
    assert "method.sigma: [100.0, 0.03] is not within" in err
    assert "blocks" in out
    gone = f"precomputed://file://{tmp_path}/gone"
    out, err = planned(source={"url": gone, "box": {"x": [0, 16], "y": [0, 140], "z": [0, 64]}})
    assert (out, "gone" in err) == ("", True)
    out, err = planned(prior={"weights": "gone.safetensors"})
    assert "prior.weights: 'gone.safetensors' is neither" in err


def test_a_plan_proposes_blocks_for_which_a_halo_costs_less(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em", (32, 40, 48))

    def planned(slices: int, memory: str) -> str:
        block = {"slices": slices, "halo": 4}
        data = spec_data(url, tmp_path / "run", tiny_prior, block=block)
        data["method"] = {"name": "ddx", "planes": "alternate"}
        data["cluster"]["memory"] = memory
        path = write_spec(tmp_path, data)
        status, out, _ = run_ddgm(capsys, "plan", path, "--no-calibrate")
        assert status == (memory == "600MiB")  # where nothing fits
        return " ".join(out.split())

    short = planned(8, "4GiB")
    assert "4 slices on either side; the network's work is 3.00 x that of the slices alone" in short
    assert re.search(r"block.slices: 24 makes it at most 1.4 x, with \d+\.\d MB to a worker", short)
    assert "12 slices or more, continued to 32 by reflection" in short
    poor = planned(8, "600MiB")
    assert "at most 1.4 x needs block.slices: 24, and 0 fit: raise cluster.memory" in poor
    long = planned(40, "4GiB")
    assert "slices alone stack across" in long  # nothing to propose
    assert "12 slices or more" in long  # the last block has 8 of its own


def test_hemibrain_is_planned_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.resources import files

    bound_http(attempts=1)
    words = "plan", files("ddgm.deploy.specs").joinpath("hemibrain.yaml"), "--no-calibrate"
    status, out, _ = run_ddgm(capsys, *words)
    as_json = run_ddgm(capsys, *words, "--json")[1]
    bound_http()
    assert status == 0
    assert json.loads(as_json)["source_answers"] is False
    assert "42000 of 128 x 1568" in out
    assert "1050 of 40 slices" in out
