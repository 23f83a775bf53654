"""The notebooks as pages, as they were run: text, code, what a cell printed, and a picture of every figure."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[2]
PICTURE, PRINTED = "image/png", "text/plain"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each notebook, its pictures, and the pictures that the notebooks and pages refer to."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = page_of(json.loads(path.read_text(encoding="utf-8")), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for path in sorted((ROOT / "notebooks" / "images").glob("*.png")):
        files.append(File.generated(config, f"notebooks/images/{path.name}", content=path.read_bytes()))
    return files


def page_of(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """The page of a notebook in Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace(".ipynb)", ".md)"))
            continue
        parts.append(fenced(source, "python"))
        for output in cell["outputs"]:
            data = output.get("data", {})
            if PICTURE in data:
                picture = f"{name}-{number:02}.png"
                pictures[picture] = base64.b64decode("".join(data[PICTURE]))
                parts.append(f"![Output of the cell above]({picture})")
            elif output["output_type"] == "stream" or PRINTED in data:
                parts.append(fenced("".join(output.get("text", data.get(PRINTED, ""))), "text"))
    return "\n\n".join(parts) + "\n", pictures


def fenced(text: str, language: str) -> str:
    """A block of code whose fence is longer than any inside."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
