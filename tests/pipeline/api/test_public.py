"""The public names: there when they are asked for, quick, and shown by examples that run."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ddgm
from tests.pipeline.runs import phantom_volume

SPEC = """\
source: {{url: "{url}"}}
output: {{path: runs/example, layers: [reconstruction, truth]}}
slab: {{thickness: 32}}
tilts: {{count: 24}}
method: {{name: ddx, steps: 2}}
block: {{slices: 4, batch: 4}}
cluster: {{kind: local, workers: 1, memory: 4GiB}}
"""


def documented() -> Iterator[tuple[str, Any]]:
    """Everything public that has an example, by its name."""
    for name in ddgm.__all__:
        value = getattr(ddgm, name)
        if inspect.ismodule(value):
            yield from ((f"{name}.{inner}", getattr(value, inner)) for inner in value.__all__)
        elif not (isinstance(value, type) and issubclass(value, Exception)):
            yield name, value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where examples are run: with a spec of a small volume."""
    folder = tmp_path_factory.mktemp("examples")
    url = phantom_volume(folder / "em", shape=(32, 64, 8), chunk=(32, 32, 8))
    (folder / "my.yaml").write_text(SPEC.format(url=url))
    return folder


# in this order: `open_run` opens what `run` has run
ORDER = sorted((name for name, _ in documented()), key=lambda name: name == "open_run")


KINDS = {"run": [pytest.mark.cluster], "open_run": [pytest.mark.cluster]}
KINDS["reconstruct"] = [pytest.mark.long]
EXAMPLES = [pytest.param(name, marks=KINDS.get(name, ())) for name in ORDER]


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_example_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if name == "open_run" and not (folder / "runs").exists():
        ddgm.run("my.yaml", progress=False)
    value = dict(documented())[name]
    tests = doctest.DocTestFinder(recurse=False).find(value, name, globs={"ddgm": ddgm})
    assert sum(len(test.examples) for test in tests)
    for test in tests:
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=said.append)
        assert not runner.failures, "".join(said)


def test_tools_that_read_code_see_what_is_there() -> None:
    tree = ast.parse(Path(inspect.getfile(ddgm)).read_text())
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in checking.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert seen == ddgm._MODULES | {"metrics": "ddgm"}
    assert sorted(seen) == sorted(ddgm.__all__)
    assert set(dir(ddgm)) >= {*ddgm.__all__, "__version__"}


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="'ddgm' has no attribute 'reconstrct'"):
        _ = ddgm.reconstrct  # type: ignore[attr-defined]


@pytest.mark.process
def test_importing_it_loads_nothing() -> None:
    code = "import sys, ddgm; dir(ddgm); print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
