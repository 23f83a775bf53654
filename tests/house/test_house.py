"""The house: rooms import in one direction, hooks live in one file, and the three packages are this project's own."""

import ast
from pathlib import Path

import pytest

import attribution
import circuits
import graphs

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"graphs": graphs, "attribution": attribution, "circuits": circuits}
ROOMS = (
    *("graphs.fields", "graphs", "graphs.sweeps", "graphs.words", "graphs.figures", "graphs.files"),
    *("graphs.features", "graphs.quality", "graphs.page"),
    *("attribution.models", "attribution.prompts"),
    *(
        "attribution.dictionaries.pursuits",
        "attribution.dictionaries.kinds",
        "attribution.dictionaries.formats",
        "attribution.dictionaries",
    ),
    *("attribution.splice", "attribution.runs", "attribution.effects", "attribution.chord", "attribution.cones"),
    *("attribution.masks", "attribution.methods", "attribution.edges", "attribution.checking"),
    *("circuits.terminal", "circuits.tasks.any_model", "circuits.tasks", "circuits.embedded", "circuits.ranking"),
    *("circuits.faithfulness", "circuits.selection"),
    *("circuits.ablation", "circuits.labels", "circuits.features", "circuits.steering"),
    *("circuits.shift", "circuits.discovery", "circuits.comparing"),
    *("circuits.commands.shared", "circuits.commands"),
)
"""Every room, lowest first: a room imports from itself and from those before it."""

FRONT_DOORS = ("graphs", "attribution", "circuits")
FEW = 20
"""Files in a room at most, beside `__init__.py`."""

FORBIDDEN = {
    "graphs": {"attribution", "circuits", "torch", "transformer_lens", "transformers", "safetensors"},
    "attribution": {"circuits"},
    "circuits": set(),
}
HOOK_INSTALLERS = {
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_hook",
    "add_hook",
    "add_perma_hook",
    "run_with_hooks",
    "hooks",
}


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no source files in {package}"
    return files


def imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_right_only(package: str) -> None:
    for path in sources(package):
        assert not imported_by(path) & FORBIDDEN[package], path


def modules() -> dict[str, Path]:
    found = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for name in PACKAGES for p in sources(name)}
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


def room_of(module: str) -> int:
    """The place in `ROOMS` of the innermost room that a module lies in."""
    inside = [name for name in ROOMS if module == name or module.startswith(f"{name}.")]
    assert inside, f"{module} lies in no room: name its folder in ROOMS"
    return ROOMS.index(max(inside, key=len))


def modules_imported_by(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of this project that a file imports, anywhere in it; front doors apart."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known.keys()) or {str(node.module)}
    return found & known.keys() - set(FRONT_DOORS)


def test_rooms_import_only_from_rooms_before_them() -> None:
    known = modules()
    upwards = [
        f"{module} -> {other}"
        for module, path in known.items()
        if module not in FRONT_DOORS
        for other in modules_imported_by(path, known)
        if room_of(other) > room_of(module)
    ]
    assert upwards == []


def test_every_room_says_what_it_is_for_and_holds_few_files() -> None:
    for room in ROOMS:
        folder = ROOT.joinpath(*room.split("."))
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), room
        assert len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) <= FEW, room


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_this_projects_own(package: str) -> None:
    file = PACKAGES[package].__file__
    assert file is not None
    assert Path(file).resolve().parent == ROOT / package


def test_hooks_are_installed_in_one_file_only() -> None:
    for path in (p for package in PACKAGES for p in sources(package)):
        if path == ROOT / "attribution" / "models" / "hooks.py" or "recipe" in path.parts:
            continue
        called = {
            node.func.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        assert not called & HOOK_INSTALLERS, path


def test_only_the_file_that_loads_models_imports_transformer_lens() -> None:
    importers = {p for p in sources("attribution") + sources("graphs") if "transformer_lens" in imported_by(p)}
    assert importers == {ROOT / "attribution" / "models" / "loading.py"}


def test_no_file_is_named_for_nothing() -> None:
    for package in PACKAGES:
        assert not {p.stem for p in sources(package)} & {"utils", "helpers", "common", "misc"}


def inner_imports_of(path: Path) -> dict[str, str]:
    """Names that a file imports from inside the three packages, past their front doors, and the module of each."""
    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(tuple(f"{p}." for p in PACKAGES))
        for alias in node.names
    }


def test_notebooks_import_from_the_front_doors_only() -> None:
    for path in (ROOT / "notebooks").glob("*.py"):
        assert inner_imports_of(path) == {}, path


def test_benchmarks_import_past_a_front_door_only_what_no_front_door_has() -> None:
    public = {name for package in PACKAGES.values() for name in package.__all__}
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert not inner_imports_of(path).keys() & public, path
