"""The house: imports point right only, hooks live in one file, and the three packages are this project's own."""

import ast
from pathlib import Path

import pytest

import attribution
import circuits
import graphs

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"graphs": graphs, "attribution": attribution, "circuits": circuits}
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


def test_only_language_model_names_transformer_lens() -> None:
    for path in sources("attribution"):
        if path.name != "language_model.py":
            assert "transformer_lens" not in imported_by(path), path


def test_no_file_is_named_for_nothing() -> None:
    for package in PACKAGES:
        assert not {p.stem for p in sources(package)} & {"utils", "helpers", "common", "misc"}
