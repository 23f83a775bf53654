"""`import graphs` is cheap; every name of the front door resolves, is documented and is what the type checker sees."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import UnionType

import pytest

import graphs

HEAVY = ("plotly", "pandas", "pyarrow", "networkx", "torch")


def loaded_after(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_graphs_loads_no_heavy_package() -> None:
    assert loaded_after("import graphs") == set()
    assert loaded_after("from graphs import CircuitGraph, Verdict, load_circuit, certificate_lines") == set()
    assert loaded_after("from graphs import write_dot") <= {"networkx"}


@pytest.mark.parametrize("name", graphs.__all__)
def test_every_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(graphs, name)
    assert isinstance(value, UnionType) or inspect.getdoc(value)


def test_dir_lists_every_name_and_an_unknown_one_is_an_error() -> None:
    assert set(graphs.__all__) <= set(dir(graphs))
    assert len(set(graphs.__all__)) == len(graphs.__all__)
    with pytest.raises(AttributeError, match="module 'graphs' has no attribute 'nothing'"):
        graphs.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_no_name_is_hidden_by_a_module() -> None:
    """An imported module is an attribute of its package, in place of a lazy name that it shares."""
    assert not set(graphs.__all__) & {module.name for module in pkgutil.iter_modules(graphs.__path__)}


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(graphs.__file__).read_text(encoding="utf-8"))
    typed = [block for block in tree.body if isinstance(block, ast.If) and isinstance(block.test, ast.Name)]
    imports = [line for block in typed for line in block.body if isinstance(line, ast.ImportFrom)]
    seen = {alias.name: line.module for line in imports for alias in line.names}
    assert sorted(seen) == sorted(graphs.__all__)
    assert seen == graphs._MODULE_OF  # pyright: ignore[reportPrivateUsage]


def test_a_value_is_displayed_with_nothing_but_its_own_module_imported() -> None:
    code = (
        "from graphs.circuit_graph import CircuitGraph, Measurement\n"
        "measured = Measurement('m', 'metric', 'logits', 'logits', 'up', 'live', 'zero', 1, 1.0, None, None, 'none')\n"
        "circuit = CircuitGraph((), (), (), (), measured)\n"
        "assert 'total effect' in circuit._repr_mimebundle_()['text/plain']\n"
        "assert circuit._repr_html_().startswith('<p><b>')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
