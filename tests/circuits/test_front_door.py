"""The front doors `circuits` and `attribution`: lazy, complete, documented, and every example in them runs."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_origin

import pytest
import torch

import attribution
import circuits
import graphs

DOORS = {"circuits": circuits, "attribution": attribution}
METRICS = (
    "logit_difference",
    "mean_logit_difference",
    "log_probability",
    "probability_difference",
    "kl_divergence",
)
OWN_EXAMPLES = {
    "circuits",
    *(n for n in circuits.__all__ if getattr(getattr(circuits, n), "__module__", "").startswith("circuits.")),
}
"""Names whose own docstring holds their example; those of the other packages are in the docstring of `circuits`."""


@pytest.mark.parametrize("name", DOORS)
def test_importing_a_front_door_loads_no_torch(name: str) -> None:
    heavy = ("torch", "transformer_lens", "transformers", "pandas", "plotly", "typer")
    code = f"import sys, {name}; assert dir({name}); print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root())
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_every_name_of_a_front_door_resolves_and_is_documented(door: ModuleType) -> None:
    assert door.__all__ == sorted(door.__all__, key=isort_order)
    for name in door.__all__:
        found = getattr(door, name)
        assert found is not None
        if (callable(found) or isinstance(found, type)) and get_origin(found) is not Literal:
            assert inspect.getdoc(found), name
        else:
            assert f"`{name}`" in (door.__doc__ or ""), (
                f"{name} is a value: the docstring of the door must say what it is"
            )


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_front_door_shows_type_checkers_what_it_gives(door: ModuleType) -> None:
    assert door.__file__ is not None
    shown: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(door.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.If):
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom):
                    shown |= {alias.name: inner.module or "" for alias in inner.names}
    assert sorted(shown) == sorted(door.__all__)
    for name, module in shown.items():
        assert getattr(import_module(module), name) is getattr(door, name), name


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_name_that_a_front_door_lacks_is_an_attribute_error(door: ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'discovr'"):
        door.discovr  # noqa: B018


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every example finds: the front door's names, a spliced model, two pairs and a small circuit of them."""
    torch.manual_seed(0)
    found: dict[str, Any] = {name: getattr(circuits, name) for name in circuits.__all__}
    found["model"] = circuits.load_model()
    found["saes"] = circuits.load_saes()
    found["spliced"] = circuits.splice(found["model"], found["saes"])
    found["pairs"] = circuits.prompt_pairs("agreement", found["model"], examples=2)
    given = found["spliced"], found["pairs"], circuits.logit_difference
    found["found"] = circuits.discover(*given, select=circuits.Selection(nodes=20))
    strongest = found["found"].circuit.strongest()
    found["name"] = next(found["found"].circuit.name(w.node) for w in strongest if w.node.kind == "feature")
    found["folder"] = tmp_path_factory.mktemp("examples")
    return found


@pytest.mark.parametrize("name", ["circuits", *(n for n in circuits.__all__ if n not in METRICS)])
def test_examples_run(name: str, names: dict[str, Any]) -> None:
    text = circuits.__doc__ if name == "circuits" else inspect.getdoc(getattr(circuits, name))
    test = doctest.DocTestParser().get_doctest(text or "", dict(names), name, None, None)
    if name in OWN_EXAMPLES:
        assert test.examples, f"{name} has no example in its docstring"
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


def test_every_name_of_circuits_is_used_in_an_example() -> None:
    docs = [circuits.__doc__, *(inspect.getdoc(getattr(circuits, name)) for name in OWN_EXAMPLES - {"circuits"})]
    used = " ".join(e.source for doc in docs for e in doctest.DocTestParser().get_examples(doc or ""))
    assert [name for name in circuits.__all__ if not re.search(rf"\b{name}\b", used)] == []


def test_the_packages_share_no_public_name_for_different_things() -> None:
    doors = {**DOORS, "graphs": graphs}
    owner: dict[str, Any] = {}
    for door in doors.values():
        for name in door.__all__:
            found = getattr(door, name)
            assert owner.setdefault(name, found) is found, name


def test_a_front_door_has_no_name_of_a_room() -> None:
    """A room that is imported becomes an attribute of its package, and would hide the name."""
    for door in DOORS.values():
        rooms = {path.name for path in Path(door.__path__[0]).iterdir() if (path / "__init__.py").is_file()}
        assert not rooms & set(door.__all__)


def isort_order(name: str) -> tuple[int, str]:
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def root() -> Path:
    return Path(__file__).resolve().parents[2]
