"""What `check` prints: the verdict, its key numbers, the largest errors, and the agreement at each site."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuits.terminal.cautions import caution_texts
from graphs import NodeVerdict, Verdict
from graphs.nodes import short_site
from graphs.words.number_formats import counted_noun, two_decimals, whole_percent
from graphs.words.verdict_words import (
    FLAG_WORDS,
    KeyNumber,
    grade_of,
    key_numbers,
    scope_name,
)

_WIDTH_WITH_FULL_NAMES: Final = 100
_STYLES: Final = {"green": "bold green", "amber": "bold yellow", "red": "bold red"}
_PRINTED: Final = ("checked", "wrong sign", "carried by jumps", "not checked")


def print_verdict(console: Console, verdict: Verdict, *, rows: int, files: Mapping[str, Path]) -> None:
    """The verdict's sentence, warnings, key numbers, the `rows` largest errors, agreement by site, and the files."""
    wide = console.width >= _WIDTH_WITH_FULL_NAMES
    parts: list[RenderableType] = [Text(verdict.sentence, style=_STYLES[grade_of(verdict)]), _measured(verdict)]
    parts += [*caution_texts(verdict.warnings), Text()]
    parts += [_numbers(key_numbers(verdict), wide), Text()]
    if verdict.flagged:
        parts += [_heading(verdict, rows), _flagged(verdict, rows, wide), Text()]
    parts += [Text("Agreement by site", style="bold"), _sites(verdict, wide), Text(), _where(files)]
    console.print(Group(*parts))


def _measured(verdict: Verdict) -> Text:
    return Text(
        f"{verdict.metric}, {counted_noun(verdict.examples, 'example')}, {verdict.patch_value} patch; "
        f"SAE errors: estimate {verdict.error_mode}, exact {verdict.exact_error_mode}",
        style="dim",
    )


def _table(*, columns: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for name in columns:
        long = name in ("node", "site")
        table.add_column(name, justify="right" if name in right else "left", no_wrap=not long, overflow="fold")
    return table


def _numbers(found: Sequence[KeyNumber], wide: bool) -> Table:
    """The key numbers that a reader needs first, each with its reading."""
    by_label = {n.label: n for n in found}
    top = next(n for n in found if n.label.startswith("top "))
    correlation = KeyNumber(
        "correlation",
        f"{by_label['Pearson'].value} / {by_label['Spearman'].value}",
        f"Pearson / Spearman; {top.label}: {top.value} shared",
    )
    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False, padding=(0, 2 if wide else 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    shown = [by_label[label] for label in _PRINTED if label in by_label]
    for n in (shown[0], correlation, *shown[1:]):
        table.add_row(Text(n.label), Text(n.value), Text(n.reading))
    return table


def _heading(verdict: Verdict, rows: int) -> Text:
    count = len(verdict.flagged)
    which = f"The {rows} largest errors of {counted_noun(count, 'flagged node')}" if count > rows else "Flagged nodes"
    return Text.assemble((which, "bold"), (f"  in {verdict.unit}; error is estimate − exact", "dim"))


def _flagged(verdict: Verdict, rows: int, wide: bool) -> Table:
    columns = ("error", "estimate", "exact", "flag", "cause", "node", "ex.")
    table = _table(columns=columns, right=("error", "estimate", "exact", "ex."))
    for found in verdict.flagged[:rows]:
        table.add_row(*_flagged_row(verdict, found, wide))
    return table


def _flagged_row(verdict: Verdict, found: NodeVerdict, wide: bool) -> list[str | Text]:
    name = verdict.name(found.node, found.example)
    return [
        *(f"{value:+.4f}" for value in (found.error, found.estimate, found.exact)),
        Text(FLAG_WORDS[found.flag], style="red" if found.flag == "sign_flip" else ""),
        found.cause or "–",
        Text(name if wide else short_site(name)),
        str(found.example),
    ]


def _sites(verdict: Verdict, wide: bool) -> Table:
    top = f"top {max((a.top for a in verdict.by_site), default=0)}"
    columns = ("site", "checked", "flagged", "Pearson", "Spearman", top, "wrong sign", "by jumps")
    table = _table(columns=columns if wide else [c for c in columns if c != "Spearman"], right=columns[1:])
    for a in verdict.by_site:
        row = [
            f"{a.nodes:,}",
            f"{a.flagged:,}",
            two_decimals(a.pearson),
            two_decimals(a.spearman),
            whole_percent(a.top_overlap),
        ]
        row += [f"{a.sign_flips} of {a.large}", whole_percent(a.jump_share)]
        kind = f" ({verdict.encoders[a.scope]})" if wide and a.scope in verdict.encoders else ""
        name = Text(f"{scope_name(verdict, a.scope)}{kind}")
        table.add_row(name, *(row if wide else row[:3] + row[4:]))
    return table


def _where(files: Mapping[str, Path]) -> Text:
    width = max(map(len, files), default=0)
    return Text("\n").join(Text.assemble((f"{name:<{width}}  ", "dim"), str(path)) for name, path in files.items())
