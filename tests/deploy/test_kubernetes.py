"""Manifests for Kubernetes: valid by its schemas and the operator's, and run as pods would.

There is no Kubernetes here. What a pod would start is started as processes, with its words and its
environment.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.settings import FILE
from tests.pipeline.runs import phantom_volume, small_spec
from tests.processes import wait_for

OPERATOR = Path(__file__).with_name("dask_kubernetes")  # its definitions of its own kinds
FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
MANIFESTS: dict[str, Any] = {
    name: yaml.safe_load((FOLDER / name).read_text("utf-8")) for name in KUSTOMIZATION["resources"]
}
OPERATORS = "kubernetes.dask.org/v1"
VERSION = "1.31"  # the first in which podFailurePolicy is stable

CLUSTER, GPU = MANIFESTS["cluster.yaml"]["spec"], MANIFESTS["gpu.yaml"]["spec"]
JOB = MANIFESTS["run.yaml"]["spec"]
PODS: dict[str, Any] = {
    "scheduler": CLUSTER["scheduler"]["spec"],
    "worker": CLUSTER["worker"]["spec"],
    "gpu": GPU["worker"]["spec"],
    "driver": JOB["template"]["spec"],
}


def closed(schema: Any, shared: dict[str, Any]) -> Any:
    """A schema with what it refers to, that refuses fields which Kubernetes drops without a word.

    Its references to Kubernetes' own schemas, of pods and services, take anything here.
    """
    if isinstance(schema, list):
        return [closed(part, shared) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return closed(shared.get(schema["$ref"].rpartition("/")[2], {}), shared)
    found = {key: closed(part, shared) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        found["additionalProperties"] = False
    return found


def operators_schema(kind: str) -> dict[str, Any]:
    """The operator's definition of a kind of its own, with the fields that all manifests have."""
    shared = yaml.safe_load((OPERATOR / "templates.yaml").read_text("utf-8"))["definitions"]
    definition = yaml.safe_load((OPERATOR / f"{kind.lower()}.yaml").read_text("utf-8"))
    schema = closed(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], shared)
    schema["properties"] |= {name: {} for name in ("apiVersion", "kind", "metadata")}
    return schema


def test_the_folder_holds_what_the_kustomization_names() -> None:
    there = {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml", "spec.yaml"}
    assert there == set(MANIFESTS)
    (image,) = KUSTOMIZATION["images"]
    containers = [c for pod in PODS.values() for c in pod["containers"]]
    assert {c["image"] for c in containers} == {image["name"]}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_valid_and_has_no_field_that_is_not_known(name: str) -> None:
    manifest = MANIFESTS[name]
    if manifest["apiVersion"] == OPERATORS:
        jsonschema.Draft7Validator(operators_schema(manifest["kind"])).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("role", PODS)
def test_a_pod_is_valid_by_the_schema_of_a_pod_of_today(role: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": role}, "spec": PODS[role]}
    kubernetes_validate.validate(pod, VERSION, strict=True)


def test_the_schedulers_service_is_valid() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ddgm-scheduler"}}
    spec = CLUSTER["scheduler"]["service"]
    kubernetes_validate.validate(service | {"spec": spec}, VERSION, strict=True)


def test_a_field_with_a_slip_is_found() -> None:
    spec = CLUSTER | {"worker": CLUSTER["worker"] | {"replica": 3}}
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(
            MANIFESTS["cluster.yaml"] | {"spec": spec}, operators_schema("DaskCluster")
        )


def test_what_names_something_of_another_file_finds_it() -> None:
    cluster = MANIFESTS["cluster.yaml"]["metadata"]["name"]
    service = CLUSTER["scheduler"]["service"]
    assert GPU["cluster"] == cluster
    labels = {"dask.org/cluster-name": cluster, "dask.org/component": "scheduler"}  # the operator's
    assert service["selector"] == labels
    assert MANIFESTS["network.yaml"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    named = {p["name"] for p in PODS["scheduler"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == named
    claims = {MANIFESTS["storage.yaml"]["metadata"]["name"]}
    configs = {made["name"] for made in KUSTOMIZATION["configMapGenerator"]}
    for pod in PODS.values():
        volumes = {v["name"]: v for v in pod.get("volumes", ())}
        for mount in pod["containers"][0].get("volumeMounts", ()):
            volume = volumes.pop(mount["name"])
            claim, config = volume.get("persistentVolumeClaim"), volume.get("configMap")
            assert claim["claimName"] in claims if claim else config["name"] in configs
        assert not volumes
    spec = Spec.model_validate(yaml.safe_load((FOLDER / "spec.yaml").read_text("utf-8")))
    assert spec.cluster.kind == "address"
    assert spec.cluster.address == f"tcp://{cluster}-scheduler:8786"  # the operator's name for it
    assert spec.prometheus is not None
    assert spec.prometheus.port == PODS["driver"]["containers"][0]["ports"][0]["containerPort"]
    for role in ("worker", "gpu"):
        (container,) = PODS[role]["containers"]
        assert environment(container)["OMP_NUM_THREADS"] == str(spec.cluster.threads)
        assert container["resources"]["requests"]["cpu"] == str(spec.cluster.threads)


def test_a_driver_is_started_again_where_that_may_help_and_nowhere_else() -> None:
    """`locked` is among these: a driver whose node is gone is dead only after half a minute."""
    (rule,) = [r for r in JOB["podFailurePolicy"]["rules"] if r["action"] == "FailJob"]
    again = {EXIT_STATUS[kind] for kind in ("cluster", "unreachable", "locked", "stopped")}
    assert set(rule["onExitCodes"]["values"]) == {2, *EXIT_STATUS.values()} - again


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@contextmanager
def started(
    role: str, logs: Path, changed: dict[str, str], *more: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A container's process, with its own words and environment but for what is changed."""
    (container,) = PODS[role]["containers"]
    own = environment(container) | variables
    words = [
        str(changed.get(word, word)).replace("$(DASK_WORKER_NAME)", role)
        for word in container["args"]
    ]
    command = [
        sys.executable,
        "-m",
        {"ddgm": "ddgm.pipeline.cli"}.get(words[0], words[0]),
        *words[1:],
        *more,
    ]
    with (logs / role).open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.process
def test_scheduler_workers_and_driver_do_a_run_as_the_manifests_start_them(
    tmp_path: Path, tiny_prior: Path
) -> None:
    ports = [free_port() for _ in range(3)]
    address = f"tcp://127.0.0.1:{ports[0]}"
    url = phantom_volume(tmp_path / "em")
    spec = small_spec(url, tmp_path / "run", tiny_prior)
    data = spec.model_dump(mode="json") | {"prometheus": {"port": ports[2]}}
    data["cluster"] = {"kind": "address", "address": address, "threads": 4}
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(Spec.model_validate(data)))
    env = {"DASK_CONFIG": str(FILE), "HOME": str(tmp_path), "DDGM_CACHE": str(tmp_path / "cache")}
    env |= {"DASK_SCHEDULER_ADDRESS": address, "OMP_NUM_THREADS": "1"}
    here = {
        ":8787": f"127.0.0.1:{ports[1]}",
        ":8788": "127.0.0.1:0",
        "/etc/ddgm/spec.yaml": str(path),
    }
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(started("scheduler", tmp_path, here, "--port", str(ports[0]), **env))
        wait_for(lambda: answers(ports[1], "health"))
        for role in ("worker", "gpu"):
            enter(started(role, tmp_path, here, **env))
        driver = enter(started("driver", tmp_path, here, **env))
        assert driver.wait(timeout=300) == 0, (tmp_path / "driver").read_text()
    records = list(RunStore(str(tmp_path / "run")).ledger.records())
    assert {record.worker for record in records} == {"worker"}  # pool workers only reconstruct
    assert len(records) > 1


def answers(port: int, page: str) -> bool:
    try:
        return urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5).status == 200
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
