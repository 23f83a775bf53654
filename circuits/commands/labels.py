"""`jumpwire labels`: what features are, of a circuit or by name, and a file of labels beside the circuit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from circuits.commands.inputs import Inputs, weight_hashes
from circuits.terminal.console import progress_bar, quiet_libraries

if TYPE_CHECKING:
    from attribution.splice.spliced_model import SplicedModel
    from circuits.labels.corpus import Corpus
    from graphs import CircuitGraph


@dataclass(frozen=True)
class LabelsOptions:
    """What is labelled and on which text; None where the default stands."""

    features: tuple[str, ...] = ()
    circuit: str | None = None
    corpus: str | None = None
    mine: str | None = None
    contexts: int = 8
    rows: int = 15
    shown: int = 3
    cache: str = "out/label_cache"
    out: str | None = None


def labels(console: Console, inputs: Inputs, options: LabelsOptions) -> None:
    """The whole command."""
    if bool(options.features) == (options.circuit is not None):
        raise ValueError(
            "Give features (blocks.2.hook_resid_post/117 ...), or --circuit with a circuit.json, and not both."
        )
    target = _target(options)
    with console.status("loading"):
        from circuits.commands.ablate_inputs import CircuitFile
        from circuits.commands.labels_output import print_labels
        from circuits.labels.feature_labels import label
        from circuits.labels.label_evidence import LabelOptions
        from circuits.labels.own_labels import feature_place, own_labels
        from circuits.terminal.replacing import replacing
        from graphs import save_labels

        quiet_libraries()
        circuit = None if options.circuit is None else CircuitFile.read(options.circuit).circuit
        asked = [feature_place(name) for name in options.features] if circuit is None else list(_effects(circuit))
        if not asked:
            raise ValueError(f"{options.circuit} has no feature nodes: there is nothing to label.")
    with console.status("loading the model and its SAEs"):
        spliced = _loaded(inputs, options, circuit)
        mine = {} if options.mine is None else own_labels(options.mine, spliced)
        corpus = _corpus(options, spliced)
    with progress_bar(console, f"reading {corpus.name}") as told:
        found = label(
            spliced,
            asked,
            corpus,
            options=LabelOptions(contexts=options.contexts),
            mine=mine,
            cache=options.cache,
            progress=told,
        )
    with replacing(target) as path:
        save_labels(found, path)
    places = {} if circuit is None else _effects(circuit)
    print_labels(console, found, places=places, rows=options.rows, contexts=options.shown, written=str(target))


def _target(options: LabelsOptions) -> Path:
    given = None if options.circuit is None else Path(options.circuit)
    beside = Path("out") if given is None else given if given.is_dir() else given.parent
    target = Path(options.out) if options.out is not None else beside / "labels.json"
    if target.is_dir():
        raise ValueError(f"--out {target} is a folder: give the file to write, as in {target / 'labels.json'}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _effects(circuit: "CircuitGraph") -> dict[tuple[str, int], str]:
    """The circuit's features, strongest first, each with its effects by position."""
    from graphs import FeatureNode

    found: dict[tuple[str, int], str] = {}
    for weighted in circuit.strongest():
        if isinstance(node := weighted.node, FeatureNode):
            place = f"{weighted.effect:+.3f} at {circuit.positions[node.position].label}"
            before = found.get((node.site, node.index))
            found[node.site, node.index] = f"effect {place}" if before is None else f"{before}, {place}"
    return found


def _loaded(inputs: Inputs, options: LabelsOptions, circuit: "CircuitGraph | None") -> "SplicedModel":
    """The model and SAEs asked for; those of the circuit's own run where it lies beside, and unchanged since."""
    if circuit is None or options.circuit is None:
        return inputs.load_spliced()
    run = Path(options.circuit).parent / "run.json"
    if inputs == Inputs() and run.is_file():
        arguments = json.loads(run.read_text(encoding="utf-8"))["arguments"]
        inputs = Inputs(**{name: arguments[name] for name in ("model", "saes", "splice_bos")})
    spliced = inputs.load_spliced()
    _refuse_changed(options.circuit, circuit.measurement.inputs.get("hashes"), weight_hashes(spliced))
    return spliced


def _refuse_changed(path: str, was: object, now: Mapping[str, object]) -> None:
    if not isinstance(was, Mapping):
        return
    if any(was.get(name) not in (None, now[name]) for name in ("model", "saes")):
        raise ValueError(
            f"{path} was made with another model or other SAEs than these: give its --model and --saes, or make it "
            "again."
        )


def _corpus(options: LabelsOptions, spliced: "SplicedModel") -> "Corpus":
    from circuits.labels.corpus import corpus_from_file, embedded_corpus

    if options.corpus is not None:
        return corpus_from_file(options.corpus, spliced.model)
    if spliced.model.name != "embedded":
        raise ValueError("--model needs --corpus: a text file with one document per line, or JSONL with `text`.")
    return embedded_corpus(spliced.model)
