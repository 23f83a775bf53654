"""`jumpwire judge`: F of a circuit on other prompts than those that found it, and which of its nodes fire there."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from circuits.commands.shared.choices import refuse_unknown
from circuits.commands.shared.earlier_run import CircuitFile, refuse_unasked_code
from circuits.commands.shared.options import EVIDENCE, METHOD, OUTPUT, RowsOptions, option, refuse_missing_file
from circuits.tasks.any_model.registry import ANY_TASKS
from circuits.tasks.registry import EVERY_TASK
from circuits.terminal.progress import progress_bar
from circuits.terminal.whole_run import write_whole
from graphs.files.whole_file import refuse_unwritable
from graphs.nodes import short_site

if TYPE_CHECKING:
    from attribution.models.language_model import LanguageModel
    from attribution.prompts.prompt_pairs import PromptPairs
    from circuits.comparing.elsewhere import JudgedElsewhere

DATA: Final = "judged.json"
TEXT: Final = "text"
FRESH_SEED: Final = 1


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(RowsOptions):
    """Which circuit is judged, and on which prompts."""

    circuit: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run of find.")]
    task: Annotated[
        str | None, option(EVIDENCE, "Judge on every split of this task. Default: that of the run.", metavar="TASK")
    ] = None
    examples: Annotated[int, option(EVIDENCE, "Pairs of each set, at most.", min=1)] = 100
    seed: Annotated[
        int, option(EVIDENCE, "Random seed of the task's pairs; other than the run's, to have other pairs.", min=0)
    ] = FRESH_SEED
    pairs: Annotated[str | None, option(EVIDENCE, "Judge on the pairs of this file too.", metavar="FILE")] = None
    text: Annotated[
        str | None,
        option(
            EVIDENCE,
            "Judge on this text too, a document a line or JSONL with `text`: on places where the task's words occur.",
            metavar="FILE",
        ),
    ] = None
    metric: Annotated[
        str | None,
        option(
            METHOD,
            "The metric of the run, if it is your own: code that a run names is imported only if you ask for it.",
            metavar="MODULE:NAME",
        ),
    ] = None
    out: Annotated[str | None, option(OUTPUT, f"Folder for {DATA}. Default: that of the run.", metavar="FOLDER")] = None

    def __post_init__(self) -> None:
        if self.task is not None:
            refuse_unknown("task", self.task, EVERY_TASK)
        refuse_missing_file("--pairs", self.pairs)
        refuse_missing_file("--text", self.text)


def judge(console: Console, options: JudgeOptions) -> None:
    """Judge a circuit where it was not found: on other words and templates, on other pairs, in other text."""
    file = CircuitFile.read(options.circuit)
    run = file.run
    if run is None:
        raise ValueError(f"{options.circuit} has no run.json, which says on what model it was found.")
    task = options.task or (run.inputs.name if run.inputs.of_a_task else None)
    if task is None and options.pairs is None:
        raise ValueError("The run is not of a task: say on what to judge it, with --task or --pairs.")
    if options.text is not None and task not in ANY_TASKS:
        raise ValueError(f"--text needs a task for any model, whose words are looked for: {', '.join(ANY_TASKS)}.")
    folder = Path(options.out or run.folder)
    refuse_unwritable(folder)
    refuse_unasked_code(run.folder, run.choices.metric, options.metric)
    run.inputs.refuse_unreadable()
    with console.status("loading the model and its SAEs"):
        from circuits.comparing.elsewhere import judge_elsewhere
        from circuits.ranking.question import reference_named

        spliced = run.model_inputs.load_spliced()
        file.refuse_other_weights(spliced.hashes())
        sets = _sets(options, task, spliced.model)
    with progress_bar(console, f"judging on {len(sets)} set(s)") as told:
        reference = reference_named(file.circuit.measurement.patch_value)
        judged = judge_elsewhere(spliced, file.circuit, sets, run.metric, reference=reference, progress=told)
    write_whole(folder, {DATA: lambda path: path.write_text(json.dumps(asdict(judged), indent=1) + "\n", "utf-8")})
    _print(console, judged, list(sets), options.rows)
    console.print(f"written: {folder / DATA}", highlight=False)


def _sets(options: JudgeOptions, task: str | None, model: "LanguageModel") -> "dict[str, PromptPairs]":
    """The sets to judge on, by name; what the tokenizer or the text does not have is left out with a warning."""
    from attribution.prompts.pair_file import read_pairs
    from circuits.labels.corpus import corpus_from_file
    from circuits.tasks.any_model.in_text import pairs_in_text
    from circuits.tasks.any_model.writing import TaskRefused
    from circuits.tasks.prompts import speaks_embedded, task_pairs
    from circuits.tasks.registry import splits_of

    found: dict[str, PromptPairs] = {}
    for split in () if task is None else splits_of(task, speaks_embedded(model)):
        try:
            found[split] = task_pairs(str(task), split, options.examples, options.seed, model, at_most=True)
        except TaskRefused as error:
            warnings.warn(str(error), stacklevel=2)
    if options.text is not None:
        texts = corpus_from_file(options.text, model).read()
        try:
            found[TEXT] = pairs_in_text(str(task), texts, model, examples=options.examples, seed=options.seed)
        except TaskRefused as error:
            warnings.warn(str(error), stacklevel=2)
    if options.pairs is not None:
        name = Path(options.pairs).stem
        found[f"{name} (file)" if name in found else name] = read_pairs(options.pairs, model).head(options.examples)
    return found


def _print(console: Console, judged: "JudgedElsewhere", sets: Sequence[str], rows: int) -> None:
    """F on every set, then how often the strongest features fire on each."""
    from graphs.words.comparison_words import with_interval

    table = _table("judged on", "pairs", "m(M)", "m(∅)", "F", "completeness")
    for own in judged.faithfulness:
        means = f"{own.m_full:+.2f}", f"{own.m_empty:+.2f}"
        ratio = with_interval(own.faithfulness, own.low, own.high)
        rest = with_interval(own.completeness, own.completeness_low, own.completeness_high)
        table.add_row(own.split, str(own.pairs), *means, ratio, rest)
    fires = _table("feature", "effect", *sets)
    for own in judged.fires[:rows]:
        shares = (f"{own.share[name]:.0%}" if name in own.share else "–" for name in sets)
        fires.add_row(Text(short_site(own.name)), f"{own.effect:+.4f}", *shares)
    missing = [Text(f"Not measured on {name}: {why}", style="yellow") for name, why in judged.missing.items()]
    heading = Text("\nShare of each set's prompts in which the circuit's strongest features fire", style="bold")
    console.print(Group(table, *missing, heading, fires))


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for n, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if n else "left", overflow="fold", no_wrap=n == 0)
    return table
