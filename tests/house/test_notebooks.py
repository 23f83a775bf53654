"""The notebooks are what their sources make: the same cells, outputs without an error, a picture of every figure.

That every cell runs is tested by nbmake, which executes them (see `testpaths` and `addopts` in pyproject.toml).
"""

import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from jupyter_client.manager import KernelManager

from notebooks.make_notebooks import main, readable, sources

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/png"
AGAIN = "the notebook is not what its source makes: run `make notebooks`"


def cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell["cell_type"], cell["source"]) for cell in notebook.cells]


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_every_source_has_a_notebook_and_every_notebook_a_source() -> None:
    assert NOTEBOOKS
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in sources()]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_source_agree_cell_by_cell(notebook: Path) -> None:
    assert cells(read(notebook)) == cells(jupytext.read(notebook.with_suffix(".py"), fmt="py:percent")), AGAIN


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_run_once_in_order_and_has_shown_something_but_the_imports(notebook: Path) -> None:
    code = [cell for cell in read(notebook).cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), AGAIN
    assert all(cell["outputs"] for cell in code[1:])
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_a_picture_and_no_output_brings_plotly_along(notebook: Path) -> None:
    data = [o.get("data", {}) for cell in read(notebook).cells for o in cell.get("outputs", [])]
    figures = [found for found in data if FIGURE in found]
    assert figures
    assert all(found[PICTURE] for found in figures), AGAIN
    assert notebook.stat().st_size < 1_000_000


def test_the_kernel_is_this_python_and_not_another_one() -> None:
    command = KernelManager(kernel_name="python3").format_kernel_cmd()
    assert Path(command[0]).absolute() == Path(sys.executable).absolute()


def test_only_what_a_cell_prints_is_kept_of_streams() -> None:
    printed = nbformat.v4.new_output("stream", name="stdout", text="a  \nb\n")
    warned = nbformat.v4.new_output("stream", name="stderr", text="/home/me/tqdm.py: a warning")
    kept = readable(printed)
    assert kept is not None
    assert kept["text"] == "a\nb\n"
    assert readable(warned) is None


def test_a_notebook_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(SystemExit, match=r"There is no notebook '09_none'. There are: 01_first_circuit, "):
        main(["09_none"])
