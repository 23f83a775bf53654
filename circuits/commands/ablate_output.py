"""What `ablate` prints: what an ablation changed, or how well a circuit predicted its causal test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import counterfactual
from circuits.ablation.ablation import Outcome
from circuits.ablation.causal_test import CausalTest
from circuits.ablation.generation import GeneratedText, decoded_text
from circuits.ablation.side_effect import SideEffect
from circuits.terminal.cautions import caution_texts
from circuits.terminal.printable import printable, printable_token
from graphs.nodes import EVERYWHERE
from graphs.words.site_words import kept_in_words

_SHOWN_NODES = 3
_WHICH: Final = {
    True: " that found the circuit: a check of the graph, by its effects in these pairs",
    False: " that did not find the circuit: a test on other prompts. Agreement says that the circuit generalises; "
    "a difference says nothing against the graph",
    None: "; whether they found the circuit is not known, so a difference may be one of prompts",
}
"""What a causal test tests, by `own_pairs`."""


@dataclass(frozen=True)
class Report:
    """What one ablation changed. `side_effect`, its `source` of text, and `generated` are None if not asked for.

    `alone` is F of the nodes kept where the layers below the boundary are at their patch value too.
    """

    outcome: Outcome
    side_effect: SideEffect | None
    source: str | None
    generated: GeneratedText | None
    prompts: PromptPairs
    model: LanguageModel
    alone: float | None = None


def print_ablation(console: Console, report: Report, path: Path, *, title: str, per_pair: bool) -> None:
    """Metric, next tokens, features downstream, side effect and generated text, before and after; where the file is."""
    parts: list[RenderableType] = [_headline(report, title), *caution_texts(report.outcome.warnings)]
    parts += [Text(), _metric(report)]
    if per_pair:
        parts += [Text(), _pairs(report)]
    parts += [Text(), _tokens(report.outcome), Text(), _features(report.outcome), Text(), _side(report)]
    if report.generated is not None:
        parts += [Text(), _generated(report)]
    console.print(Group(*parts, Text.assemble("\nWritten: ", str(path))))


def print_tests(console: Console, tests: Sequence[CausalTest], path: Path, *, rows: int) -> None:
    """Each test of a circuit, and where the file is."""
    for test in tests:
        console.print(_test(test, rows), "")
    note = Text("effect: change of the metric when the node takes its patch value, mean over pairs\n", style="dim")
    if any(name.position in (None, EVERYWHERE) for test in tests for name in test.names):
        note.append(
            "everywhere: the graph has the sum of a node's effects at each of its positions, measured is the effect of "
            "all at once; they agree as far as positions add up\n"
        )
    console.print(note.append(f"Written: {path}", style="none"))


def _test(test: CausalTest, rows: int) -> Group:
    """Effects in the graph against measured ones: correlations, largest difference, and the `rows` strongest nodes."""
    relative = test.relative_difference
    share = "undefined (total effect 0)" if relative is None else f"{relative:.2g} of the total effect"
    text = Text("causal test: each node knocked out in a run of its own\n", style="bold")
    text.append(f"{len(test.names)} nodes, {test.pairs} pair(s)", style="bold").append(f"{_WHICH[test.own_pairs]}\n")
    text.append(f"{test.error_mode} errors; the graph is by {test.method}\n")
    text.append(f"Pearson {_number(test.pearson)}   Spearman {_number(test.spearman)}   ", style="bold")
    text.append(f"largest difference {test.largest_difference:.2g} {test.unit} ({share})\n", style="bold")
    if test.rounding is None:
        text.append("not repeated in float64, which takes more memory than is allowed\n")
    else:
        text.append(f"in float64 the knock-outs measure the same to {test.rounding:.1g} {test.unit}\n")
    text.append(f"total effect {test.total_effect:+.3f} {test.unit} (mean over pairs)", style="dim")
    table = _table(("node", "left"), ("graph", "right"), ("measured", "right"), ("difference", "right"))
    for name, predicted, measured in list(zip(test.names, test.predicted, test.measured, strict=True))[:rows]:
        table.add_row(Text(str(name)), _signed(predicted), _signed(measured), f"{measured - predicted:+.1e}")
    return Group(text, *caution_texts(test.warnings), Text(), table)


def _headline(report: Report, title: str) -> Text:
    ablation, outcome = report.outcome.ablation, report.outcome
    text = Text(f"{title}\n", style="bold")
    values = f", to {ablation.patch_value.name} values" if ablation.operation.uses_reference else ""
    text.append(
        f"{ablation.operation.label} on {len(ablation.names)} node(s){values}, {ablation.error_mode} errors, "
        f"{len(report.prompts)} prompt(s)\n"
    )
    text.append(f"  {_named(ablation.names)}\n", style="dim")
    text.append(f"{outcome.values_changed} value(s) changed directly", style="dim")
    if outcome.idle:
        text.append(f"; {len(outcome.idle)} node(s) had nothing to change here: {_named(outcome.idle)}", style="dim")
    return text


def _metric(report: Report) -> Text:
    outcome = report.outcome
    before, after = outcome.before.mean(), outcome.after.mean()
    text = Text(f"{outcome.metric}  {before:+.3f} → {after:+.3f}", style="bold")
    text.append(f"   change {after - before:+.3f} {outcome.unit}", style="bold")
    if len(outcome.before) > 1:
        change = outcome.after - outcome.before
        text.append(f" (means; {change.min():+.3f} to {change.max():+.3f} over pairs)")
    if outcome.faithfulness is not None:
        text.append(f"\nF = {outcome.faithfulness:.2f}", style="bold")
        text.append(
            f": the nodes kept restore that share of the model's effect; with none, {outcome.nothing.mean():+.3f}"
        )
    if report.alone is not None:
        text.append(
            f"\n  {kept_in_words(outcome.from_layer)}; with them at their patch value too, F = {report.alone:.2f}"
        )
    pair = report.prompts[0]
    if outcome.metric == "logit_difference" and len(report.prompts) == 1:
        answer, foil = (report.model.token_text(t) for t in (pair.answer_id, pair.foil_id))
        of = f"\n  of '{printable_token(answer)}' over '{printable_token(foil)}'"
        more = ", the likeliest two" if pair.clean_ids == pair.patch_ids else ""
        text.append(of + more, style="dim")
    elif outcome.metric == "logit_difference":
        right = [int((values > 0).sum()) for values in (outcome.before, outcome.after)]
        text.append(f"\n  the answer is the likelier of the two in {right[0]} → {right[1]}", style="dim")
        text.append(f" of {len(report.prompts)} pairs", style="dim")
    return text


def _pairs(report: Report) -> Table:
    outcome = report.outcome
    table = _table(("prompt", "left"), ("before", "right"), ("after", "right"), ("likeliest next", "left"))
    likeliest = zip(outcome.likeliest_before, outcome.likeliest_after, strict=True)
    rows = zip(report.prompts, outcome.before, outcome.after, likeliest, strict=True)
    for pair, before, after, (old, new) in rows:
        words = decoded_text(pair.clean_ids, report.model)
        table.add_row(
            Text(printable(words)),
            _signed(before),
            _signed(after),
            Text(f"{printable_token(old)} → {printable_token(new)}"),
        )
    return table


def _tokens(outcome: Outcome) -> Table:
    table = _table(("likeliest next token", "left"), ("before", "right"), ("after", "right"))
    for token in outcome.tokens:
        table.add_row(Text(printable_token(token.text)), f"{token.before:.1%}", f"{token.after:.1%}")
    return table


def _features(outcome: Outcome) -> RenderableType:
    if not outcome.features:
        return Text("No feature downstream changed.")
    table = _table(("features downstream that changed", "left"), ("before → after", "right"), ("prompts", "right"))
    for shift in outcome.features:
        table.add_row(Text(str(shift)), f"{shift.before:.2f} → {shift.after:.2f}", str(shift.prompts))
    return table


def _side(report: Report) -> Text:
    effect = report.side_effect
    if effect is None:
        return Text("Side effect not measured: give general text with --text-file, one document a line.", style="dim")
    text = Text("side effect  ", style="bold")
    change = effect.cross_entropy_after - effect.cross_entropy_before
    text.append(f"CE {effect.cross_entropy_before:.3f} → {effect.cross_entropy_after:.3f} ({change:+.3f})   ")
    text.append(f"KL {effect.kl:.4f}   nats per token\n")
    ablation = report.outcome.ablation
    zero = ablation.operation.uses_reference and ablation.patch_value is counterfactual
    note = f"  {effect.documents} documents, {effect.tokens} tokens of {report.source}; the nodes at every position"
    text.append(note + (", to 0: no patch prompt there" if zero else ""), style="dim")
    if effect.values_changed == 0:
        text.append("\n  nothing changed: the nodes are never active in this text", style="dim")
    return text


def _generated(report: Report) -> Text:
    found = report.generated
    assert found is not None
    text = Text("generated\n", style="bold")
    for name, words in (("before", found.before), ("after ", found.after)):
        text.append(f"  {name}  ", style="dim").append(f"{found.prompt} ").append(words, style="bold")
        text.append("\n" if name == "before" else "")
    ablation = report.outcome.ablation
    if ablation.operation.uses_reference and ablation.patch_value is counterfactual:
        text.append("\n  nodes are set to 0 there: a patch prompt has no values for new text", style="dim")
    return text


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for header, side in columns:
        table.add_column(header, justify="right" if side == "right" else "left", overflow="fold")
    return table


def _named(names: Sequence[object]) -> str:
    more = "" if len(names) <= _SHOWN_NODES else f", and {len(names) - _SHOWN_NODES} more"
    return ", ".join(map(str, names[:_SHOWN_NODES])) + more


def _signed(value: float | np.floating) -> Text:
    return Text(f"{value:+.4f}", style="green" if value >= 0 else "magenta")


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6f}"
