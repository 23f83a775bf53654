"""`jumpwire compare`: what two circuits share, how well each does the other's task, their union and intersection."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuits.commands.shared.earlier_run import CircuitFile, EarlierRun, portable, refuse_unasked_code
from circuits.commands.shared.inputs import Inputs, Loaded
from circuits.commands.shared.options import METHOD, OUTPUT, RowsOptions, option
from circuits.terminal.progress import progress_bar
from circuits.terminal.whole_run import RUN_FILE, refuse_folders_in_place, refuse_foreign, write_whole
from graphs.comparison import ComparedNode, Comparison
from graphs.files.comparison_files import EDGES_FILE, NODES_FILE
from graphs.files.whole_file import refuse_unwritable
from graphs.nodes import short_site
from graphs.words.comparison_words import (
    FAITHFULNESS_HEADS,
    comparison_headline,
    comparison_numbers,
    faithfulness_rows,
    twin_in_words,
)

if TYPE_CHECKING:
    from circuits.comparing.side import Side
    from graphs import CircuitGraph, Labels

MATCHING: Final = "Features of other SAEs"
COMBINED: Final = "Circuits out of both"
PAGE: Final = "comparison.html"
DATA: Final = "comparison.json"
DEFAULT_LEAST: Final = 0.7
"""Cosine and correlation of a match, as in circuits/comparing/matching.py, which imports torch; a test holds both."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions(RowsOptions):
    """Which circuits are compared, how features of different SAEs are matched, and what is written."""

    a: Annotated[str, typer.Argument(metavar="A", help="Folder of a run of find.")]
    b: Annotated[str, typer.Argument(metavar="B", help="Folder of another run.")]
    least_cosine: Annotated[
        float, option(MATCHING, "Least cosine of the decoder directions of features that match.", min=0.0, max=1.0)
    ] = DEFAULT_LEAST
    least_correlation: Annotated[
        float, option(MATCHING, "Least correlation of their activations over both runs' prompts.", min=0.0, max=1.0)
    ] = DEFAULT_LEAST
    metric: Annotated[
        str | None,
        option(
            METHOD,
            "The metric of the runs, if it is your own: code that a run names is imported only if you ask for it.",
            metavar="MODULE:NAME",
        ),
    ] = None
    union: Annotated[
        str | None,
        option(COMBINED, "Write the circuit of the nodes that either has, as a run on A's prompts.", metavar="FOLDER"),
    ] = None
    intersection: Annotated[
        str | None,
        option(COMBINED, "Write the circuit of the nodes that both have, as a run on A's prompts.", metavar="FOLDER"),
    ] = None
    out: Annotated[str | None, option(OUTPUT, "Folder for the files. Default: out/<A>-and-<B>.", metavar="FOLDER")] = (
        None
    )


def compare(console: Console, options: CompareOptions) -> None:
    """Compare two circuits: what they share, how their effects agree, and how well each does the other's task."""
    runs = [_Run.read(path) for path in (options.a, options.b)]
    names = _names(options.a, options.b)
    folder = Path(options.out or Path("out") / f"{names[0]}-and-{names[1]}".replace("/", "-"))
    combined = {"union": options.union, "intersection": options.intersection}
    targets = {how: Path(given) for how, given in combined.items() if given is not None}
    _refuse_places(runs, folder, targets)
    for run in runs:
        refuse_unasked_code(run.earlier.folder, run.earlier.choices.metric, options.metric)
        run.inputs.refuse_unreadable()
    with console.status("loading the models and their SAEs"):
        from attribution.runs.progress import progress_between
        from circuits.comparing.compare import compare as compare_circuits
        from graphs.files.comparison_files import save_comparison, table_writers
        from graphs.page.comparison_page import write_comparison_page

        labels = runs[0].labels()
        sides = _sides(runs, names)
    with progress_bar(console, f"comparing {names[0]} and {names[1]}") as told:
        found = compare_circuits(
            *sides,
            least_cosine=options.least_cosine,
            least_correlation=options.least_correlation,
            progress=progress_between(told, 0.0, 0.6),
        )
        files = {"page": folder / PAGE, "comparison": folder / DATA}
        about = {"title": f"{names[0]} and {names[1]}", "labels": labels}
        page = partial(write_comparison_page, found, sides[0].circuit, sides[1].circuit, **about)
        writers = {files["comparison"].name: partial(save_comparison, found), files["page"].name: page}
        write_whole(folder, writers | table_writers(found))
        for n, (how, target) in enumerate(targets.items()):
            part = progress_between(told, 0.6 + 0.2 * n, 0.8 + 0.2 * n)
            files[how] = _write_combined(how, target, runs[0], labels, sides, part)
    _print(console, found, rows=options.rows, files=files)


@dataclass(frozen=True)
class _Run:
    """A run of `find`, read back: its circuit, its arguments, and what it left beside them."""

    file: CircuitFile
    earlier: EarlierRun

    @classmethod
    def read(cls, path: str) -> "_Run":
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(f"{path}: no such folder. Give folders of two runs of `jumpwire find`.")
        if (folder / "pair-000").is_dir():
            raise FileNotFoundError(f"{path} has a circuit for each pair: give one, as in {path}/pair-000.")
        for name in ("circuit.json", RUN_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{path} has no {name}: not a whole run of `jumpwire find`. Make it again.")
        file = CircuitFile.read(path)
        assert file.run is not None
        return cls(file, file.run)

    @property
    def inputs(self) -> Inputs:
        return self.earlier.inputs

    def labels(self) -> "Labels | None":
        from graphs import load_labels

        path = self.earlier.folder / "labels.json"
        refuse_foreign(path)
        return load_labels(path) if path.is_file() else None

    def side(self, loaded: Loaded, name: str) -> "Side":
        """The circuit with its model, the pairs that found it, and the first of those that judged it."""
        from circuits.comparing.side import Side

        known = {kind: self.earlier.hashes[kind] for kind in ("model", "saes", "prompts")}
        if known != loaded.hashes():
            raise ValueError(
                f"{self.earlier.folder}: the model, an SAE or the prompts have changed since. Make the run again."
            )
        own, others = self.earlier.parted(loaded)
        judging = next(iter(others.judging.values()), own.prompts)
        return Side(self.file.circuit, loaded.spliced, judging, own.prompts, name)


def _refuse_places(runs: "list[_Run]", folder: Path, targets: Mapping[str, Path]) -> None:
    """Refuse folders that cannot be written to, and those of a union or an intersection that hold what is compared."""
    refuse_unwritable(folder)
    refuse_folders_in_place(folder, (PAGE, DATA, NODES_FILE, EDGES_FILE))
    taken = {run.earlier.folder.resolve(): "what is compared" for run in runs}
    for how, target in targets.items():
        if (there := taken.get(target.resolve())) is not None:
            raise ValueError(f"--{how} {target} would overwrite {there}: give another folder.")
        taken[target.resolve()] = f"the {how}"
        refuse_unwritable(target)
        refuse_folders_in_place(target)


def _names(a: str, b: str) -> tuple[str, str]:
    """The names of the two folders; their paths where these are the same."""
    one, two = Path(a).resolve(), Path(b).resolve()
    if one == two:
        raise ValueError(f"{a} and {b} are the same run. Give two.")
    return (one.name, two.name) if one.name != two.name else (a, b)


def _sides(runs: "list[_Run]", names: tuple[str, str]) -> "tuple[Side, Side]":
    """Both circuits with what measures them; a model and SAEs that both share are loaded once."""
    one, two = runs
    first = one.inputs.load(one.earlier.metric)
    weights = [{kind: run.earlier.hashes[kind] for kind in ("model", "saes")} for run in runs]
    spliced_alike = [(run.inputs.splice_bos, run.inputs.from_layer) for run in runs]
    same = weights[0] == weights[1] and spliced_alike[0] == spliced_alike[1]
    metric = two.earlier.metric
    second = two.inputs.loaded(first.spliced, metric) if same else two.inputs.load(metric)
    return one.side(first, names[0]), two.side(second, names[1])


def _write_combined(
    how: str,
    target: Path,
    one: _Run,
    labels: "Labels | None",
    sides: "tuple[Side, Side]",
    progress: Callable[[float], None],
) -> Path:
    """Write a union or an intersection, certified on A's prompts, as files that other commands read as a run."""
    from circuits.comparing.combine import intersection_of, union_of
    from graphs import save_circuit, write_page

    combine = {"union": union_of, "intersection": intersection_of}[how]
    first = sides[0]
    splits = {side.name: side.judging for side in sides if side.judging is not None}
    circuit: CircuitGraph = combine(
        [side.circuit for side in sides], spliced=first.spliced, pairs=first.found_on, splits=splits, progress=progress
    )
    content: dict[str, Any] = {
        "schema_version": 1,
        **portable(one.earlier.arguments, target),
        "hashes": dict(one.earlier.hashes),
        "combined": circuit.measurement.inputs["combined"],
    }
    page = partial(write_page, circuit, title=f"{how} of {first.name} and {sides[1].name}", labels=labels)
    files = {"circuit.json": partial(save_circuit, circuit), "circuit.html": page}
    write_whole(target, files, lambda: content)
    return target / "circuit.json"


def _print(console: Console, comparison: Comparison, *, rows: int, files: Mapping[str, Path]) -> None:
    """All numbers, the `rows` strongest nodes that are shared and those of one circuit alone, notes, and files."""
    parts: list[RenderableType] = [Text(comparison_headline(comparison), style="bold"), Text()]
    numbers = [(n.label, n.value, n.reading) for n in comparison_numbers(comparison)]
    parts += [_table(("", "", ""), numbers, right=(1,)), Text()]
    if comparison.faithfulness:
        parts += [_table(FAITHFULNESS_HEADS, faithfulness_rows(comparison)), Text()]
    parts += [_table(("in", *comparison.names, "node"), _nodes(comparison, rows), right=(1, 2)), Text()]
    parts += [Text(note, style="dim") for note in comparison.notes]
    parts += [Text(f"Not measured: {what}: {why}", style="yellow") for what, why in comparison.missing.items()]
    width = max(map(len, files))
    parts += [Text.assemble((f"{name:<{width}}  ", "dim"), str(path)) for name, path in files.items()]
    console.print(Group(*parts))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False, show_header=any(heads))
    for n, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if n in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _nodes(comparison: Comparison, rows: int) -> list[tuple[str, str, str, str]]:
    """A third of the rows each for the strongest nodes of both, of A alone, and of B alone."""
    parts: dict[str, list[ComparedNode]] = {"both": [], **{f"only {name}": [] for name in comparison.names}}
    only_a, only_b = (f"only {name}" for name in comparison.names)
    for node in comparison.nodes:
        parts[only_a if node.b is None else only_b if node.a is None else "both"].append(node)
    return [
        (where, _effect(node.effect_a), _effect(node.effect_b), _name(comparison, node))
        for where, own in parts.items()
        for node in own[: max(1, rows // len(parts))]
    ]


def _name(comparison: Comparison, node: ComparedNode) -> str:
    twin = twin_in_words(comparison, node)
    return short_site(node.a or node.b or "") + (f"  {twin}" if twin else "")


def _effect(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"
