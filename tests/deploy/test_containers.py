"""Container recipes: linted, and with all that an installation needs. They are not built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "deploy" / "containers"
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)


def needed() -> set[str]:
    """What an installation is made from: files, and the folders of our packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = project["tool"]["setuptools"]["package-dir"].values()
    packages = {folder.split("/")[0] for folder in folders}
    files = {project["project"]["readme"], *project["project"]["license-files"]}
    return {*packages, *files, "pyproject.toml", "constraints.txt"}


def test_both_recipes_bring_what_an_installation_needs_and_its_pinned_versions() -> None:
    docker = (RECIPES / "Dockerfile").read_text()
    copied = {w for line in re.findall(r"^COPY (.*) \S+$", docker, re.M) for w in line.split()}
    assert copied == needed()
    assert "--constraint constraints.txt" in docker
    apptainer = (RECIPES / "ddgm.def").read_text()
    assert dict(re.findall(r"^    (\S+) (/opt/ddgm/\S+)$", apptainer, re.M)) == {
        name: f"/opt/ddgm/{name}" for name in needed()
    }
    assert "--constraint /opt/ddgm/constraints.txt" in apptainer


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint, which `make lint` installs")
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = subprocess.run(
        [str(HADOLINT), str(RECIPES / "Dockerfile")], capture_output=True, text=True
    )
    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
@pytest.mark.parametrize("section", ["post", "runscript", "test"])
def test_shellcheck_finds_nothing_in_the_definition(section: str) -> None:
    text = (RECIPES / "ddgm.def").read_text()
    (script,) = re.findall(rf"^%{section}\n((?:    .*\n)+)", text, re.M)
    found = subprocess.run(
        ["shellcheck", "--shell=sh", "-"], input=script, capture_output=True, text=True
    )
    assert (found.stdout, found.returncode) == ("", 0)
