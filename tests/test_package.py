"""The package as others get it: what it holds, what it says of itself, and that it works alone.

It is built as it would be for a release, and installed into an environment of its own, which sees
our dependencies and nothing of this folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ddgm.pipeline.spec.yaml_file import dump_spec
from tests.pipeline.runs import layer, phantom_volume, small_spec

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
IGNORED = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
# not installed: they start from the repository
RECIPES = "deploy/conda", "deploy/containers", "deploy/grafana", "deploy/kubernetes"


def ours() -> dict[str, Path]:
    """Every file of the folders that are installed, by its place below site-packages."""
    found = {}
    for package in sorted(FOLDERS, key=len):  # the longer name, which is within the shorter, wins
        for file in sorted((ROOT / FOLDERS[package]).rglob("*")):
            name = Path(package.replace(".", "/"), file.relative_to(ROOT / FOLDERS[package]))
            if file.is_file() and "__pycache__" not in file.parts:
                found[name.as_posix()] = file
    own = (ROOT / FOLDERS["ddgm"]).relative_to(ROOT / FOLDERS["ddgm.pipeline"])
    inner = f"ddgm/pipeline/{own}/"  # `ddgm` itself, which is not imported by that name
    left_out = (inner, *(f"ddgm/{folder}" for folder in RECIPES))
    return {n: f for n, f in found.items() if not n.startswith(left_out)}


def ignored(path: Path) -> bool:
    """True of what git ignores."""
    return any(fnmatch(part, pattern) for part in path.parts for pattern in IGNORED)


def test_every_folder_of_python_is_listed() -> None:
    found = {Path(n).parent.as_posix().replace("/", ".") for n in ours() if n.endswith(".py")}
    assert sorted(found) == PROJECT["tool"]["setuptools"]["packages"]


def test_versions_agree() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    version = PROJECT["project"]["version"]
    assert citation["version"] == version
    newest = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    assert newest in (version, "Unreleased")
    hooks = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")
    pinned = re.findall(r"^ruff==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert [repo["rev"] for repo in hooks["repos"]] == [f"v{v}" for v in pinned]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of a copy of this folder: building leaves files behind."""
    folder = tmp_path_factory.mktemp("sdist")

    def left(_: str, names: list[str]) -> set[str]:
        return {name for name in names if name == ".git" or ignored(Path(name))}

    shutil.copytree(ROOT, folder / "copy", ignore=left)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run(sys.executable, "-c", build, cwd=folder / "copy")
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel that the source distribution gives."""
    options = "--quiet", "--no-build-isolation", "--no-deps", "--no-index"
    run(sys.executable, "-m", "pip", "wheel", *options, sdist, cwd=sdist.parent)
    (built,) = sdist.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment that the wheel is installed in, alone."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    bin = folder / "bin"
    options = "--quiet", "--no-deps", "--no-index"
    run(sys.executable, "-m", "pip", "--python", bin / "python", "install", *options, wheel)
    (packages,) = folder.glob("lib/*/site-packages")
    # a folder's own .pth files are not read there, so nothing of an editable ddgm comes with it
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return bin


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with packages that have our folders' names, and cannot be imported."""
    for name in ("pipeline", "workers", "deploy", "ddgm_core"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('a foreign {name}')")
    return tmp_path


def run(*command: object, cwd: Path = ROOT, **environment: object) -> str:
    """What a command prints, which must succeed; it sees no ddgm but an installed one."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=without_us(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_us(environment: dict[str, object]) -> dict[str, str]:
    """This process's environment, less what it imports ddgm by, and more of what is given."""
    found = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return found | {"OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in environment.items()}


@pytest.mark.process
def test_the_wheel_holds_ddgm_and_its_metadata_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    metadata = {name for name in names if re.match(r"ddgm-[^/]*\.dist-info/", name)}
    assert names - metadata == set(ours())
    assert {Path(name).name for name in metadata} >= {"LICENSE", "NOTICE", "entry_points.txt"}


@pytest.mark.process
def test_the_sdist_holds_what_development_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {file.relative_to(ROOT).as_posix() for file in ours().values()} <= names
    for folder in ("tests", "docs", "benchmarks", "examples", *RECIPES, ".ci"):
        files = [p.relative_to(ROOT) for p in (ROOT / folder).rglob("*") if p.is_file()]
        assert {file.as_posix() for file in files if not ignored(file)} <= names
    assert {"constraints.txt", "Makefile", "CHANGELOG.md", "CITATION.cff", "NOTICE"} <= names
    assert {".gitignore", "mkdocs.yml", ".importlinter"} <= names


@pytest.mark.process
def test_the_tests_of_the_sdist_run(sdist: Path, installed: Path, tmp_path: Path) -> None:
    """By the wheel, in the folder that it is unpacked to: a few that show that all is there."""
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    few = "tests/ddgm_core/test_geometry.py", "tests/deploy/test_conda.py"
    passed = run(installed / "python", "-m", "pytest", "-p", "no:cacheprovider", *few, cwd=folder)
    assert "passed" in passed
    assert "failed" not in passed


@pytest.mark.process
def test_it_works_beside_foreign_packages(installed: Path, foreign: Path) -> None:
    python = installed / "python"
    where = run(python, "-c", "import ddgm; print(ddgm.__file__)", cwd=foreign, PYTHONPATH=foreign)
    assert Path(where.strip()).is_relative_to(installed.parent)
    version = run(installed / "ddgm", "--version", cwd=foreign, PYTHONPATH=foreign)
    assert version.split() == ["ddgm", PROJECT["project"]["version"]]
    assert "tilt series" in run(installed / "ddgm", "--help", cwd=foreign, PYTHONPATH=foreign)
    settings = run(python, "-m", "ddgm.workers.settings", cwd=foreign, PYTHONPATH=foreign)
    assert Path(settings.strip()).is_file()
    assert Path(settings.strip()).is_relative_to(installed.parent)


@pytest.mark.cluster
def test_it_runs_on_dask_workers_beside_foreign_packages(
    installed: Path, foreign: Path, tiny_prior: Path
) -> None:
    output, file = foreign / "run", foreign / "scheduler.json"
    spec = small_spec(phantom_volume(foreign / "em"), output, tiny_prior)
    data = spec.model_dump() | {"cluster": {"kind": "scheduler_file", "path": file}}
    (foreign / "spec.yaml").write_text(dump_spec(type(spec).model_validate(data)))
    dask = installed / "python", "-m", "dask"
    local = "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file
    with ExitStack() as stack:
        stack.enter_context(background(foreign, *dask, "scheduler", "--port", 0, *local))
        stack.enter_context(background(foreign, *dask, "worker", "--nthreads", 1, *local))
        run(installed / "ddgm", "run", "spec.yaml", cwd=foreign, PYTHONPATH=foreign)
    assert layer(output, "reconstruction").any()


@contextmanager
def background(folder: Path, *command: object) -> Iterator[None]:
    """A process that goes on while the context lasts."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=without_us({"PYTHONPATH": folder}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
