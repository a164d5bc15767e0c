"""Specs: what is refused, how it is said, and what the digest depends on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
from ruamel.yaml import YAML

from ddgm.core.methods.registry import METHODS
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.yaml_file import SpecError, dump_spec, load_spec

MINIMAL = "source: {url: 'precomputed://file:///em'}\noutput: {path: run}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prior: {weigts: small}", "prior.weigts: unknown key; did you mean 'weights'?"),
        ("sauce: {}", "sauce: unknown key; did you mean 'source'?"),
        ("zzz: {}", "zzz: unknown key; known here: algebraic, block, calibration, cluster"),
        ("method: {name: ddgm, step: {relatve: 1}}", "method.step.relatve: unknown key; did you"),
        ("method: {name: sirt}", "method: input tag 'sirt'"),
        ("slab: {thickness: 12.5}", "slab.thickness: input should be a valid integer"),
        ("slab: {thickness_axis: x}", "must be three axes"),
        ("block: {slices: 7, batch: 2}", "7 must be a multiple of batch, 2; with batch: 1 it is"),
        ("tilts: {range: [60, -60]}", "tilts.range: [60.0, -60.0] must rise"),
        ("method: {name: ddgm, sigma: [0.03, 3]}", "method.sigma: [0.03, 3.0] must fall"),
        ("algebraic: {step: {relative: 1, absolute: 1}}", "give one of {relative: 1.42}"),
        ("cluster: {kind: local, workers: 0}", "cluster.workers: input should be greater"),
        ("cluster: {kind: local, memory: 8 bananas}", "cluster.memory: must be a size"),
        ("cluster: {kind: address}", "cluster.address: required"),
        ("cluster: {kind: local, memory: 1e400GiB}", "cluster.memory: must be a size from 100MiB"),
        ("cluster: {kind: local, memory: -1GiB}", "cluster.memory: must be a size from 100MiB"),
        ("cluster: {kind: local, threads: 4294967296}", "cluster.threads: input should be less"),
        ("pool: {workers: 1000000000000}", "pool.workers: input should be less"),
        (
            "method: {name: ddx, gradient_steps: 25}",
            "unknown key; known here: channels, gamma, kappa, name, passes,",
        ),
        ("method: {name: ddgm, steps: true}", "method.steps: input should be a valid integer"),
        ("method: {name: ddgm, steps: '12'}", "method.steps: input should be a valid integer"),
        ("method: {name: ddgm, steps: 4294967296}", "method.steps: input should be less"),
        ("tilts: {noise: .nan}", "tilts.noise: input should be a finite number (it is nan)"),
        ("tilts: {noise: 1e999}", "tilts.noise: input should be a finite number"),
        ("tilts: {seed: -1}", "tilts.seed: input should be greater than or equal to 0"),
        ("tilts: {seed: 9223372036854775808}", "tilts.seed: input should be less than"),
        ("tilts: {simulate: {kernel: cone}}", "tilts.simulate.kernel: input should be 'linear'"),
        ("tilts: {simulate: {subsampling: 3}}", "subsampling: input should be 1, 2 or 4 (it is 3)"),
        ("tilts: {simulate: {dose: -1}}", "tilts.simulate.dose: input should be greater than 0"),
        (
            "tilts: {simulate: {shfit: 1}}",
            "tilts.simulate.shfit: unknown key; did you mean 'shift'",
        ),
        ("tilts: {hold_out: 1}", "tilts.hold_out: 1 leaves 0 of 128 views to reconstruct from"),
        ("tilts: {hold_out: 200}", "tilts.hold_out: 200 holds out none of 128 views"),
        ("tilts: {hold_out: 0}", "tilts.hold_out: input should be greater than or equal to 1"),
        ("tilts: {count: 100000}", "tilts.count: input should be less than"),
        ("block: {slices: 4294967296}", "block.slices: input should be less than"),
        ("tilts: {count: [[[[1]]]]}", "tilts.count: input should be a valid integer (it is [["),
        ("tilts: " + 5000 * "[\n " + 5000 * "]", "too deep within each other"),
        (f"prior: {{weights: {300_000 * 'x'}}}", "is above 262144 bytes"),
        (f"tilts: {{count: {'x' * 1000}}}", "(it is 'xxxxx"),
        ("tilts: {seed: 2020-13-45}", "not YAML"),
        ("tilts: [", "not YAML"),
        ("source: {url: again}", "duplicate key"),
    ],
)
def test_a_bad_spec_is_refused_in_one_line_that_names_the_field(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(written(tmp_path, MINIMAL + text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_aliases_of_aliases_cost_no_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SpecError, match="holds more than 10000 values"):
        load_spec(written(tmp_path, "\n".join(lines)))


@pytest.mark.process
def test_a_spec_is_utf8_whatever_the_locale_says(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes((MINIMAL.replace("run", "läufe/σ") + "# ü\n").encode())
    code = (
        "import sys; from pathlib import Path; from ddgm.pipeline.spec.yaml_file import load_spec; "
        "print(ascii(load_spec(Path(sys.argv[1])).output.path))"
    )
    words = [sys.executable, "-X", "utf8=0", "-c", code, str(path)]
    plain = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, text=True, env=plain)
    assert done.stdout.strip() == ascii("läufe/σ"), done.stderr


def test_what_yaml_knows_as_a_date_is_text_and_a_whole_number_will_do_for_a_float(
    tmp_path: Path,
) -> None:
    text = MINIMAL.replace("path: run", "path: 2026-11-25") + "tilts: {noise: 4}\n"
    spec = load_spec(written(tmp_path, text))
    assert (spec.output.path, spec.tilts.noise) == ("2026-11-25", 4.0)


PASSWORD = "Xy1/z+9"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("source.url", "source: {url: precomputed://http://me:PW@host/em}\noutput: {path: run}"),
        ("source.url", "source: {url: 'https://Xy1@host/em'}\noutput: {path: run}"),
        ("output.path", "source: {url: a}\noutput: {path: 's3://key:PW@bucket/run'}"),
        ("source.url", "source: {url: 'HTTPS://Xy1@host/em'}\noutput: {path: run}"),
        ("output.path", "source: {url: a}\noutput: {path: 's3://key:12/PW@bucket/run'}"),
        ("source.url", "source: {url: 'https://host/em?X-Amz-Signature=PW'}\noutput: {path: run}"),
        ("output.path", "source: {url: a}\noutput: {path: 's3://key:a PW@bucket/run'}"),
        ("prior.weights", MINIMAL + "prior: {weights: 'https://me:PW@host/w.safetensors'}"),
        ("source", "source: s3://key:PW@bucket/em\noutput: {path: run}"),
        ("cluster.address", MINIMAL + "cluster: {kind: address, address: 'tls://me:PW@host:8786'}"),
        ("not YAML", "source: {url: http://me:PW@host/em: [}"),
    ],
)
def test_a_password_in_a_url_is_refused_and_never_shown(
    tmp_path: Path, field: str, text: str
) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(written(tmp_path, text.replace("PW", PASSWORD)))
    message = str(error.value)
    assert f"{field}: " in message
    assert "Xy1" not in message
    assert "\n" not in message
    if "." in field:
        assert "take it out, and give it by the environment" in message


@pytest.mark.parametrize(
    "parameter",
    [
        "?apikey=",
        "?api_key=",
        "?auth=",
        "?pwd=",
        "?secret_key=",
        "?jwt=",
        "?bearer=",
        "#token=",
        ";token=",
        "?a=b&Api-Key=",
        "?key=",
        "?AWSAccessKeyId=",
        "?passwd=",
        "?x-goog-credential=",
    ],
)
def test_a_secret_by_the_name_of_its_parameter_is_refused(tmp_path: Path, parameter: str) -> None:
    url = f"precomputed://https://host/em{parameter}{PASSWORD}"
    with pytest.raises(SpecError, match=r"source\.url: .*take it out") as error:
        load_spec(written(tmp_path, f"source: {{url: '{url}'}}\noutput: {{path: run}}\n"))
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "precomputed://https://host/em?version=3&keyboard=no#section",
        "precomputed://http://localhost:8080/em@v1",
        "precomputed://file:///home/me@lab:2/em",
        "s3://bucket/em@a:b",
        "sftp://me@host/em",
    ],
)
def test_a_url_without_a_password_is_let_through(tmp_path: Path, url: str) -> None:
    text = f"source: {{url: '{url}'}}\noutput: {{path: run}}\n"
    assert load_spec(written(tmp_path, text)).source.url == url


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("{x: [0, 5], y: [0, 5]}", "each of z, y and x"),
        ("{x: [5, 5], y: [0, 5], z: [0, 5]}", "source.box.x: stop 5 is not above start 5"),
    ],
)
def test_a_box_is_whole_and_has_voxels(tmp_path: Path, box: str, message: str) -> None:
    text = f"source: {{url: a, box: {box}}}\noutput: {{path: run}}\n"
    with pytest.raises(SpecError, match=r"source\.box") as error:
        load_spec(written(tmp_path, text))
    assert message in str(error.value)


def test_numbers_are_read_as_yaml_1_2_has_them(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, MINIMAL + "algebraic: {step: {absolute: 9e-5}}"))
    assert spec.algebraic.step.size(norm=1.0) == 9e-5


def test_a_dumped_spec_is_the_same_spec(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, MINIMAL + "tilts: {detector: perpendicular, noise: 2}"))
    assert load_spec(written(tmp_path, dump_spec(spec))) == spec


def test_the_digest_covers_what_the_bytes_depend_on_and_nothing_else() -> None:
    base = {"source": {"url": "a"}, "output": {"path": "run"}}

    def digest(**parts: object) -> str:
        return Spec.model_validate({**base, **parts}).results_digest(code="1")

    same = digest()
    assert digest(cluster={"kind": "local", "workers": 7}) == same
    assert digest(limits={"attempts": 9}) == same
    assert digest(output={"path": "elsewhere"}) == same
    assert digest(source={"url": "a", "bandwidth": 1e6}, prices={"core_hour": 0.04}) == same
    assert digest(prior={"weights": "elsewhere/the-same.safetensors"}) == same
    assert digest(output={"path": "run", "dtype": "float32"}) != same
    assert digest(prior={"stride": 64}) != same
    assert digest(source={"url": "b"}) != same
    assert digest(method={"name": "ddgm", "seed": 1}) != same
    assert digest(tilts={"noise": 4.2}) != same
    assert digest(tilts={"simulate": None, "hold_out": None}) == same
    assert digest(tilts={"hold_out": 8}) != same
    assert digest(tilts={"simulate": {"shift": 0.5}}) != digest(tilts={"simulate": {}}) != same
    assert Spec.model_validate(base).results_digest(code="2") != same


@pytest.mark.parametrize("name", ["example.yaml", "hemibrain.yaml"])
def test_shipped_specs_are_good(name: str) -> None:
    load_spec(Path(str(files("ddgm.deploy.specs").joinpath(name))))


def test_the_example_shows_the_defaults_as_they_are() -> None:
    example = load_spec(Path(str(files("ddgm.deploy.specs").joinpath("example.yaml"))))
    assert example == Spec.model_validate(
        {"source": {"url": example.source.url}, "output": {"path": example.output.path}}
    )


def test_the_example_names_every_method_and_layer_and_the_schema_for_editors() -> None:
    text = files("ddgm.deploy.specs").joinpath("example.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=")
    parts = [YAML(typ="safe").load(line) for line in re.findall(r"(?m)^# (method: {.*})", text)]
    prior = {"restorer": "restore-perpendicular"}
    places = {"source": {"url": "a"}, "output": {"path": "b"}, "prior": prior}
    named = {Spec.model_validate(places | part).method.name for part in ({}, *parts)}
    assert named == {name for name, method in METHODS.items() if not method.comparison_only}
    assert [layer for layer in get_args(Layer) if not re.search(rf"\b{layer}\b", text)] == []
