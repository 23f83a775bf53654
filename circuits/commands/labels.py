"""`jumpwire labels`: say what features stand for, those of a circuit or by name, and write the labels to a file."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from circuits.commands.shared.earlier_run import CircuitFile
from circuits.commands.shared.inputs import ModelInputs
from circuits.commands.shared.options import OUTPUT, MemoryOptions, RowsOptions, option, refuse_missing_file
from circuits.terminal.cautions import caution_texts
from circuits.terminal.progress import progress_bar
from circuits.terminal.whole_run import OF_A_RUN, RUN_FILE, write_whole
from graphs.files.whole_file import refuse_unwritable, refuse_unwritable_file

if TYPE_CHECKING:
    from graphs import CircuitGraph

LABELS: Final = "Labels"
_FILE: Final = "labels.json"


@dataclass(frozen=True)
class LabelsOptions(RowsOptions, MemoryOptions):
    """Which features are labelled, on which text; None where the default stands."""

    features: Annotated[
        list[str],
        typer.Argument(metavar="FEATURE", help="Features by name, as in blocks.2.hook_resid_post/117."),
    ] = field(default_factory=list)
    circuit: Annotated[
        str | None, option(LABELS, "Instead: all features of this circuit.json of find.", metavar="FILE")
    ] = None
    corpus: Annotated[
        str | None,
        option(
            LABELS,
            "Text to read the features on: a document a line, or JSONL with `text`. Default: the --text of the "
            "circuit's run; for the embedded model, text of its language.",
            metavar="FILE",
        ),
    ] = None
    mine: Annotated[
        str | None,
        option(LABELS, "Your own labels, JSON or JSONL; they replace the automatic ones.", metavar="FILE"),
    ] = None
    contexts: Annotated[int, option(LABELS, "Strongest contexts to keep of each feature.", min=1, max=1000)] = 8
    shown: Annotated[int, option(OUTPUT, "Contexts to print of each feature.", min=0)] = 3
    rows: Annotated[int, option(OUTPUT, "Features to print.", min=1)] = 15
    cache: Annotated[str, option(OUTPUT, "Folder that remembers labels between runs.", metavar="FOLDER")] = (
        "out/label_cache"
    )
    out: Annotated[
        str | None,
        option(OUTPUT, "File to write. Default: labels.json beside the circuit, or in out.", metavar="FILE"),
    ] = None

    def __post_init__(self) -> None:
        if bool(self.features) == (self.circuit is not None):
            raise ValueError(
                "Give features, as in blocks.2.hook_resid_post/117, or --circuit with a circuit.json: one of them."
            )
        if given := next((name for name in self.features or () if Path(name).exists()), None):
            raise ValueError(f"{given} is a file or folder, not a feature. Give a circuit with --circuit {given}.")
        refuse_missing_file("--corpus", self.corpus)
        refuse_missing_file("--mine", self.mine)


def labels(console: Console, inputs: ModelInputs, options: LabelsOptions) -> None:
    """Say what features stand for: strongest contexts, promoted tokens, and which attention heads write them."""
    target = _target(options)
    found = None if options.circuit is None else CircuitFile.read(options.circuit)
    inputs = _model(inputs, found)
    if options.corpus is None and found is not None and found.run is not None:
        options = replace(options, corpus=found.run.arguments.get("text"))
    inputs.refuse_no_text("Labels are read off text", "--corpus", options.corpus)
    with console.status("loading"):
        inputs.refuse_unreadable()

        from attribution.checking.dictionary_cautions import dictionary_cautions
        from circuits.labels.corpus import corpus_of, refuse_bad_text
        from circuits.labels.feature_labels import label
        from circuits.labels.label_evidence import LabelOptions
        from circuits.labels.labels_output import print_labels
        from circuits.labels.own_labels import feature_place, own_labels, refuse_bad_labels
        from graphs import save_labels

        places = {} if found is None else _effects(found.circuit)
        asked = [feature_place(name) for name in options.features] if found is None else list(places)
        if not asked:
            raise ValueError(f"{options.circuit} has no feature nodes: there is nothing to label.")
        if options.corpus is not None:
            refuse_bad_text(options.corpus)
        if options.mine is not None:
            refuse_bad_labels(options.mine)
    with console.status("loading the model and its SAEs"):
        spliced = inputs.load_spliced()
        if found is not None:
            found.refuse_other_weights(spliced.hashes())
        mine = {} if options.mine is None else own_labels(options.mine, spliced)
        corpus = corpus_of(options.corpus, spliced.model)
    with progress_bar(console, f"reading {corpus.name}") as told:
        made = label(
            spliced,
            asked,
            corpus,
            options=LabelOptions(contexts=options.contexts),
            mine=mine,
            cache=options.cache,
            memory=options.memory,
            progress=told,
        )
    write_whole(target.parent, {target.name: partial(save_labels, made)})
    for line in caution_texts(dictionary_cautions(spliced)):
        console.print(line)
    print_labels(console, made, places=places, rows=options.rows, contexts=options.shown, written=str(target))


def _target(options: LabelsOptions) -> Path:
    given = None if options.circuit is None else Path(options.circuit)
    beside = Path("out") if given is None else given if given.is_dir() else given.parent
    target = Path(options.out) if options.out is not None else beside / _FILE
    if target.name in (RUN_FILE, *OF_A_RUN) and target.name != _FILE:
        raise ValueError(f"--out {target} is a file of a run: give another, as in {target.with_name(_FILE)}.")
    refuse_unwritable_file(target)
    refuse_unwritable(Path(options.cache))
    return target


def _effects(circuit: "CircuitGraph") -> dict[tuple[str, int], str]:
    """The circuit's features, strongest first; of each, its effects and their positions, in words."""
    from graphs import FeatureNode

    found: dict[tuple[str, int], str] = {}
    for weighted in circuit.strongest():
        if isinstance(node := weighted.node, FeatureNode):
            place = f"{weighted.effect:+.3f} at {circuit.positions[node.position].label}"
            before = found.get((node.site, node.index))
            found[node.site, node.index] = f"effect {place}" if before is None else f"{before}, {place}"
    return found


def _model(chosen: ModelInputs, found: CircuitFile | None) -> ModelInputs:
    """The model and SAEs that the user chose; by default those of the run beside the circuit."""
    return chosen if found is None or found.run is None or chosen != ModelInputs() else found.run.model_inputs
