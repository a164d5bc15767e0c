"""The recipe for conda says what pyproject.toml says. It is not built here."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RECIPE = YAML(typ="safe").load(ROOT / "deploy/conda/recipe.yaml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def parts(requirement: str) -> tuple[str, str]:
    """Name and bounds of a requirement, in pip's notation or conda's."""
    start = next(i for i, letter in enumerate(requirement) if letter in "<>=")
    return requirement[:start].strip(), requirement[start:].strip()


def test_it_needs_what_the_project_needs() -> None:
    ours = [parts(requirement) for requirement in PROJECT["dependencies"]]
    expected = {CONDA_NAMES.get(name, name): bounds for name, bounds in ours}
    found = dict(parts(requirement) for requirement in RECIPE["requirements"]["run"])
    assert found == {**expected, "python": PROJECT["requires-python"]}


def test_it_is_of_this_version_with_its_command_and_licence() -> None:
    assert RECIPE["context"]["version"] == PROJECT["version"]
    scripts = [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == scripts
    assert RECIPE["about"]["license"] == PROJECT["license"]
    assert RECIPE["about"]["license_file"] == PROJECT["license-files"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
    place = (ROOT / "deploy/conda" / RECIPE["source"]["path"]).resolve()
    assert place == ROOT
    for module in RECIPE["tests"][0]["python"]["imports"]:
        import_module(module)
