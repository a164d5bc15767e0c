"""The notebooks run from the first cell to the last, as a reader would run them."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """All cells, in a kernel of their own that was started in `folder`."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not outputs, "clear all outputs: they are made anew here"
    shutil.copytree(path.parent, tmp_path / "examples")  # it may build a package there
    execute(notebook, tmp_path / "examples")


def test_a_cell_that_raises_fails_its_notebook(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("assert False, 'wrong'")
    with pytest.raises(CellExecutionError, match="wrong"):
        execute(nbformat.v4.new_notebook(cells=[cell]), tmp_path)
