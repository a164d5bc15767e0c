"""The driver's metrics as Prometheus takes them: scraped over HTTP in the middle of a run."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from dask import config
from distributed import LocalCluster
from prometheus_client.parser import text_string_to_metric_families

from ddgm.pipeline.run.events import BlockDone, ClusterStatus, Event
from ddgm.pipeline.run.progress.prometheus import PrometheusError
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.run.disturbed import BLOCKS, spec_for
from tests.pipeline.runs import phantom_volume
from tests.workers.shared import Shared

Samples = dict[tuple[str, str], float]  # by name, and by the value of a label, if it has one

ROOT = Path(__file__).parents[4]
DOCS, BOARD = ROOT / "docs/monitoring.md", ROOT / "deploy/grafana/ddgm.json"


@dataclass
class Scraped:
    """What was scraped when blocks ended and when the cluster was looked at; last, as text."""

    root: Path
    kinds: dict[str, str]
    blocks: list[Samples]
    looks: list[Samples]
    text: str = ""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, shared: Shared, tiny_prior: Path) -> Scraped:
    folder = tmp_path_factory.mktemp("scraped")
    spec = spec_for(
        shared,
        folder / "run",
        tiny_prior,
        phantom_volume(folder / "em"),
        pool={"placement": "calls"},
        prometheus={"port": 0},
    )
    found = Scraped(folder / "run", {}, [], [])
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("ddgm.pipeline.run.progress.prometheus.console.print", said.append)
        patch.setattr("ddgm.pipeline.run.scheduler.POLL_SECONDS", 0.2)

        def scrape(event: Event) -> None:
            if isinstance(event, BlockDone | ClusterStatus):
                found.text = scraped_at(port_in(said[0]))
                samples, kinds = parsed(found.text)
                found.kinds |= kinds
                (found.blocks if isinstance(event, BlockDone) else found.looks).append(samples)

        run(spec, scrape)
    with pytest.raises(OSError, match="refused"):
        scraped_at(port_in(said[0]))
    return found


def port_in(said: str) -> int:
    return int(said.removeprefix("metrics: http://127.0.0.1:").removesuffix("/metrics"))


def scraped_at(port: int) -> str:
    return urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()


def parsed(text: str) -> tuple[Samples, dict[str, str]]:
    samples, kinds = {}, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = sample.labels.get("path") or next(iter(sample.labels.values()), "")
            samples[sample.name, label] = sample.value
            kinds[sample.name] = family.type
    return samples, kinds


def test_counters_are_what_the_records_say(scraped: Scraped) -> None:
    records = list(RunStore(str(scraped.root)).ledger.records())
    last = scraped.blocks[-1]
    assert len(records) == BLOCKS
    assert last["ddgm_blocks", "done"] == last["ddgm_blocks_ended_total", "done"] == BLOCKS
    assert last["ddgm_blocks", "left"] == last["ddgm_blocks", "failed"] == 0
    assert last["ddgm_slices_total", ""] == sum(len(r.metrics) for r in records)
    assert last["ddgm_voxels_total", ""] == last["ddgm_slices_total", ""] * 32 * 140
    assert last["ddgm_peak_memory_bytes", ""] == max(r.peak for r in records)
    for layer in ("reconstruction", "truth"):
        assert last["ddgm_written_bytes_total", layer] == sum(r.sizes[layer] for r in records)
    for name, key in (("bytes", "bytes"), ("requests", "requests"), ("cache_hits", "hits")):
        counted = sum(r.read.get(key, 0) for r in records)
        assert last[f"ddgm_source_{name}_total", ""] == counted
    assert last["ddgm_source_bytes_total", ""] > 0
    for stage in ("fetch", "reconstruct"):
        spent = sum(r.seconds[stage] for r in records)
        assert last["ddgm_stage_seconds_total", stage] == pytest.approx(spent)


def test_gauges_are_of_the_run_as_it_stands(scraped: Scraped) -> None:
    assert any(look["ddgm_workers", "pool"] == 1 for look in scraped.looks)
    assert any(look["ddgm_workers", "block"] == 2 for look in scraped.looks)
    assert any(look.get(("ddgm_blocks_in_flight", "reconstruct")) for look in scraped.looks)
    network = [look["ddgm_network_images_total", ""] for look in scraped.looks if network_in(look)]
    assert network == sorted(network)
    assert network[-1] > 0
    first = scraped.blocks[0]
    assert (first["ddgm_blocks", "done"], first["ddgm_blocks", "left"]) == (1, BLOCKS - 1)
    assert first["ddgm_run_info", str(scraped.root)] == 1


def network_in(look: Samples) -> bool:
    return ("ddgm_network_images_total", "") in look


def test_names_follow_the_rules_of_prometheus(scraped: Scraped) -> None:
    for name, kind in scraped.kinds.items():
        assert re.fullmatch(r"ddgm_[a-z_]+", name), name
        assert (kind == "counter") == name.endswith("_total"), (name, kind)
        assert not re.search(r"_(count|ms|milliseconds|kb|mb|percent)(_|$)", name), name


@pytest.mark.process
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_finds_nothing_in_the_metrics(scraped: Scraped) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped.text, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_docs_and_board_name_every_metric_and_no_other(scraped: Scraped) -> None:
    listed = re.findall(r"^\| `(ddgm_\w+)", DOCS.read_text("utf-8"), re.MULTILINE)
    drawn = names_in(json.loads(BOARD.read_text("utf-8")), "ddgm")
    rare = {"ddgm_left_seconds", "ddgm_voxels_per_second"}  # this run is too quick for a rate
    assert set(scraped.kinds) | rare == set(listed) == drawn | {"ddgm_run_info"}


def names_in(board: dict[str, Any], prefix: str) -> set[str]:
    """Metrics that the board's queries name."""
    return set(re.findall(rf"\b{prefix}_\w+", " ".join(queries(board))))


def queries(board: dict[str, Any]) -> list[str]:
    """What the board asks, as Grafana asks it."""
    found = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    return [e.replace("$__rate_interval", "1m").replace("$job", ".*") for e in found]


@pytest.mark.process
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_understands_the_boards_queries_the_alerts_and_the_configuration(
    tmp_path: Path,
) -> None:
    board = json.loads(BOARD.read_text("utf-8"))
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(queries(board))]
    (alerts,) = re.findall(r"```yaml\n(groups:.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    groups = [{"name": "board", "rules": rules}, *yaml.safe_load(alerts)["groups"]]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": groups}))
    for words in (["rules", str(path)], ["config", str(BOARD.with_name("prometheus.yml"))]):
        checked = subprocess.run(["promtool", "check", *words], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.cluster
def test_what_the_board_asks_of_dask_is_there() -> None:
    anywhere = "127.0.0.1:0"
    pages = {  # the shared cluster has none
        f"distributed.{role}.http.routes": [f"distributed.http.{role}.prometheus"]
        for role in ("scheduler", "worker")
    }
    where = {"dashboard_address": anywhere, "worker_dashboard_address": anywhere}
    start: Any = LocalCluster  # its own type is of something to await, too
    with config.set(pages), start(n_workers=1, processes=False, **where) as cluster:
        info = cluster.scheduler_info
        (worker,) = info["workers"].values()
        ports = info["services"]["dashboard"], worker["services"]["dashboard"]
        served = {
            f"{family.name}_total" if family.type == "counter" else family.name
            for port in ports
            for family in text_string_to_metric_families(scraped_at(port))
        }
    board = json.loads(BOARD.read_text("utf-8"))
    asked = names_in(board, "dask")
    assert asked
    assert asked <= served


def test_the_configuration_of_prometheus_is_the_one_in_the_docs() -> None:
    kept = yaml.safe_load(BOARD.with_name("prometheus.yml").read_text("utf-8"))
    shown = re.search(r"```yaml\n(scrape_configs:.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert shown
    assert yaml.safe_load(shown[1])["scrape_configs"] == kept["scrape_configs"]


def test_a_port_that_is_taken_is_said_in_one_line(
    tmp_path: Path, shared: Shared, tiny_prior: Path, scraped: Scraped
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        url = f"precomputed://file://{scraped.root.parent / 'em'}"
        spec = spec_for(shared, tmp_path / "run", tiny_prior, url, prometheus={"port": port})
        with pytest.raises(PrometheusError, match=f"127.0.0.1:{port} cannot be served at"):
            run(spec, lambda event: None)
    assert not list((tmp_path / "run/ledger").rglob("*.json"))
