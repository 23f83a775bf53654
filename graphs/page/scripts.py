"""Bundle the page's JavaScript modules into one script, so that the page needs one file and one hash.

A module may only import by `import { names } from "./other.js";` and export by `export` before a declaration. In the
bundle every module comes after those it imports, without its imports and the word `export`. All modules share one
scope, in which a name declared twice would be a syntax error.
"""

import re
from pathlib import Path
from typing import Final

SCRIPT_FOLDER: Final = Path(__file__).parent / "script"
_IMPORT: Final = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?function|const|class)", re.MULTILINE)

_DECLARED: Final = re.compile(r"^(?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)


def bundle_scripts(entry: str, folder: Path = SCRIPT_FOLDER) -> str:
    """The module `entry` and all modules that it needs, in the order of their imports.

    Raises:
        ValueError: modules that import each other in a circle, that declare the same name, or whose syntax cannot be
            bundled.
    """
    ordered: list[str] = []
    _visit(entry, folder, ordered, [])
    parts = {name: _plain(name, folder) for name in ordered}
    _refuse_same_names(parts)
    text = "".join(parts.values())
    if re.search(r"</script|<!--", text, re.IGNORECASE):
        raise ValueError("A script of the page contains `</script` or `<!--`, which would end its element.")
    return text


def _visit(name: str, folder: Path, ordered: list[str], coming_from: list[str]) -> None:
    if name in coming_from:
        raise ValueError(f"Modules import each other in a circle: {' -> '.join([*coming_from, name])}.")
    if name not in ordered:
        for other in _IMPORT.findall((folder / name).read_text(encoding="utf-8")):
            _visit(other, folder, ordered, [*coming_from, name])
        ordered.append(name)


def _refuse_same_names(parts: dict[str, str]) -> None:
    declared: dict[str, str] = {}
    for module, text in parts.items():
        for name in _DECLARED.findall(text):
            if name in declared:
                raise ValueError(
                    f"{declared[name]} and {module} both declare {name}: they share one scope once bundled."
                )
            declared[name] = module


def _plain(name: str, folder: Path) -> str:
    text = _EXPORT.sub("", _IMPORT.sub("", (folder / name).read_text(encoding="utf-8")))
    if left := re.search(r"^(?:import|export)\b.*", text, re.MULTILINE):
        raise ValueError(f"{name}: {left[0]!r} is not an import or export that can be bundled.")
    return text
