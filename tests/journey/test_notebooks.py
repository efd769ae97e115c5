"""Each notebook runs from a clean kernel, and carries no outputs in git."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from .conftest import Box

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_no_outputs_are_kept(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.services
@pytest.mark.filterwarnings("ignore:zmq.eventloop.ioloop is deprecated:DeprecationWarning")
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_from_a_clean_kernel(box: Box, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_HOME", str(box.home.root))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": file.parent}}
    ).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
