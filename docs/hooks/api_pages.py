"""The API pages: every public name of the three packages, in the order of `__all__`. One without a docstring fails."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = {
    "circuits": "What a user of jumpwire needs: `from circuits import discover`, and so on.",
    "attribution": "The parts that `circuits` is built from: `from attribution import ...`, to build on.",
    "graphs": "Circuits, certificates and verdicts as data, their files, figures and pages: `from graphs import ...`.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds `api/<package>.md` for each package."""
    sys.path.insert(0, str(ROOT))
    for package, about in PACKAGES.items():
        files.append(File.generated(config, f"api/{package}.md", content=page_of(package, about)))
    return files


def page_of(package: str, about: str) -> str:
    """The page of a package.

    Raises:
        PluginError: a public name has no docstring.
    """
    module = importlib.import_module(package)
    bare = [name for name in module.__all__ if not is_documented(module, name)]
    if bare:
        raise PluginError(f"Public names of {package} without a docstring: {', '.join(bare)}.")
    entries = "\n\n".join(f"::: {package}.{name}" for name in module.__all__)
    return f"# {package}\n\n{about}\n\n{entries}\n"


def is_documented(module: object, name: str) -> bool:
    """True for a documented function or class, and for a value: its docstring is beside its definition."""
    value = getattr(module, name)
    return bool(inspect.getdoc(value)) if inspect.isroutine(value) or inspect.isclass(value) else True
