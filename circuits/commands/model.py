"""`jumpwire model`: what a model proves before anything is measured on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.table import Table

from circuits.commands.shared.choices import refuse_unknown
from circuits.commands.shared.inputs import refuse_missing_model, silence_transformers
from circuits.commands.shared.options import BACKENDS, INPUTS, OUTPUT, choices_in_words, option
from circuits.embedded.sets import EMBEDDED
from graphs.files.whole_file import refuse_unwritable_file, whole_file

if TYPE_CHECKING:
    from attribution.checking.model_report import ModelReport
    from attribution.models.loading import Backend


@dataclass(frozen=True, kw_only=True)
class ModelCommandOptions:
    """Which model."""

    name: Annotated[
        str, typer.Argument(metavar="NAME_OR_FOLDER", help="Hugging Face model: name or folder; `embedded` for ours.")
    ]
    backend: Annotated[
        str, option(INPUTS, f"Who runs the model: {choices_in_words(BACKENDS, BACKENDS[0])}.", metavar="BACKEND")
    ] = BACKENDS[0]
    out: Annotated[str | None, option(OUTPUT, "Also write the report to this JSON file.", metavar="FILE")] = None


def model(console: Console, options: ModelCommandOptions) -> None:
    """Load a model and say what it has proved: its logits, causality, batches, sites, and what is fast."""
    refuse_unknown("backend", options.backend, BACKENDS)
    if options.out is not None:
        refuse_unwritable_file(Path(options.out))
    if options.name != EMBEDDED:
        refuse_missing_model(options.name)
    with console.status("loading the model"):
        from attribution.checking.model_report import model_report
        from circuits.embedded.load import load_model

        silence_transformers()
        report = model_report(load_model(options.name, backend=cast("Backend", options.backend)))
    console.print(report_table(report))
    if options.out is not None:
        target = Path(options.out)
        with whole_file(target) as path:
            path.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {target}", highlight=False)


def report_table(report: "ModelReport") -> Table:
    """One line for each thing proved."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, words in _lines(report):
        table.add_row(name, words)
    return table


def _lines(report: "ModelReport") -> list[tuple[str, str]]:
    size = f"{report.n_layers} layers, d_model {report.d_model:,}, vocabulary {report.d_vocab:,}"
    size += f", {report.parameters:,} parameters, {report.dtype}"
    run_by = {"transformer-lens": "TransformerLens", "hugging-face": "its Hugging Face modules"}.get(report.backend)
    why = "" if report.reason is None else f": {report.reason}"
    sites = ", ".join(f"{kind} ({count})" for kind, count in report.sites.items())
    return [
        ("model", f"{report.name} ({report.architecture or report.backend}): {size}"),
        ("run by", (run_by or "Python, as given") + why),
        ("logits", _logits(report)),
        ("causal", "yes: no logit depends on later tokens"),
        ("batches", report.lengths or "prompts of any lengths, padded on the right"),
        (
            "patched runs",
            "start at the layer they change" if report.resumes else "start at the tokens, which is slower",
        ),
        ("exact patching", _exact(report)),
        ("sites", sites),
    ]


def _logits(report: "ModelReport") -> str:
    if report.logits_difference is None:
        return "finite; not compared with another model's"
    return f"finite; those of the Hugging Face model to {report.logits_difference:.1g} of their spread"


def _exact(report: "ModelReport") -> str:
    if report.no_cones is None:
        return "runs only the positions and layers that a patch reaches (cones)"
    return f"runs whole blocks, with the same numbers, more slowly ({report.no_cones})"
