"""The notebooks run from the first cell to the last, and keep what they showed when they were made."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(notebook: Path) -> list[dict[str, object]]:
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notebook.parent)
    names: dict[str, object] = {}
    for number, cell in enumerate(code_cells(notebook)):
        source = cell["source"]
        text = source if isinstance(source, str) else "".join(map(str, source if isinstance(source, list) else []))
        exec(compile(text, f"{notebook.name}, code cell {number}", "exec"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_that_shows_something_has_shown_it_without_error(notebook: Path) -> None:
    cells = code_cells(notebook)
    assert sum(bool(cell["outputs"]) for cell in cells) >= len(cells) - 1, "only the imports show nothing"
    for cell in cells:
        outputs = cell["outputs"]
        assert isinstance(outputs, list)
        assert all(output["output_type"] != "error" for output in outputs)
