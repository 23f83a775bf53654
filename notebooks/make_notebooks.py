"""Make the notebooks from their sources: run every cell, keep what it shows, and a picture of every plotly figure.

    python notebooks/make_notebooks.py                      all of them
    python notebooks/make_notebooks.py 01_first_circuit     one

Sources are the numbered .py files beside this one, in jupytext's percent format. The pictures are for places that show
a notebook without running scripts; they are taken by Chromium.
"""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import jupytext
import nbformat
import plotly.graph_objects as go
from nbclient import NotebookClient

HERE: Final = Path(__file__).resolve().parent
FIGURE: Final = "application/vnd.plotly.v1+json"
PICTURE: Final = "image/png"
_WIDTH: Final = 1100
_HEIGHT: Final = 450
_SECONDS: Final = 1800


def sources() -> list[Path]:
    """The notebooks' sources, in order."""
    return sorted(HERE.glob("[0-9]*.py"))


def unexecuted(source: Path) -> nbformat.NotebookNode:
    """The notebook of a source, without outputs; its cells are numbered, so that it is the same each time."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"
    return notebook


def make(source: Path, chromium: str) -> None:
    """Execute a source with this very Python and write the notebook beside it."""
    notebook = unexecuted(source)
    place = {"metadata": {"path": str(source.parent)}}
    client = NotebookClient(
        notebook, timeout=_SECONDS, kernel_name="python3", resources=place, record_timing=False, coalesce_streams=True
    )
    client.execute()
    for cell in notebook.cells:
        if cell["cell_type"] == "code":
            cell["outputs"] = list(filter(None, map(readable, cell["outputs"])))
        for output in cell.get("outputs", []):
            if FIGURE in output.get("data", {}):
                output["data"][PICTURE] = picture(output["data"][FIGURE], chromium)
    nbformat.write(notebook, source.with_suffix(".ipynb"))


def readable(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output without blanks at the ends of lines; nothing for progress bars and warnings, which name local paths."""
    if output["output_type"] != "stream":
        return output
    if output["name"] == "stderr":
        return None
    output["text"] = "\n".join(line.rstrip() for line in output["text"].split("\n"))
    return output


def picture(figure: dict[str, Any], chromium: str) -> str:
    """A figure as a PNG in base64, as wide and high as it asks to be."""
    drawn = go.Figure({key: figure[key] for key in ("data", "layout")})
    asked = figure["layout"]
    width, height = int(asked.get("width", _WIDTH)), int(asked.get("height", _HEIGHT))
    drawn.update_layout(width=width, height=height)
    body = drawn.to_html(full_html=False, include_plotlyjs=True, config={"displayModeBar": False})
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "figure.html"), Path(folder, "figure.png")
        page.write_text(f"<!doctype html><meta charset='utf-8'><body style='margin:0'>{body}</body>", encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000")
        place = (f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", f"--screenshot={shot}")
        subprocess.run([chromium, *options, *place, page.as_uri()], check=True, capture_output=True, timeout=120)
        return base64.b64encode(shot.read_bytes()).decode()


def main(names: list[str]) -> None:
    """Make the named notebooks, or all."""
    known = {source.stem: source for source in sources()}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"There is no notebook {unknown[0]!r}. There are: {', '.join(known)}.")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("Chromium takes the pictures of the figures: install it, e.g. by `apt install chromium`.")
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    for name in names or known:
        print(f"{name} ...", flush=True)
        make(known[name], chromium)


if __name__ == "__main__":
    main(sys.argv[1:])
