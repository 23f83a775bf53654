"""What `feature` prints: a feature's report, or the features that a search found."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from circuits.labels.labels_output import context_line
from circuits.terminal.printable import printable, printable_token
from graphs.features import feature_words as words
from graphs.features.feature_report import FeatureReport, TokenWeights
from graphs.features.feature_search import FeatureSearch
from graphs.words.number_formats import signed_number

_CONTEXTS = 4
_TOKENS = 4
_LONGEST = 24


def print_report(console: Console, report: FeatureReport, *, written: Sequence[str]) -> None:
    """The report, in the order of its page."""
    console.print(Text(report.name, style="bold cyan"))
    console.print(Text(printable(report.label.text, 300), style="bold"))
    _dim(console, words.fires_in_words(report))
    _print_test(console, report)
    _head(console, "What fires it")
    for context in report.label.contexts[:_CONTEXTS]:
        console.print(context_line(context, console.width))
    tokens = ", ".join(f"{_token(own.token)} {own.fires:,} of {own.occurs:,}" for own in report.fires_on)
    console.print(Text(f"on the tokens: {tokens}" if tokens else "on no token"))
    inside = [own for own in report.inside if own.base]
    if inside:
        shares = [(own.name, *map(words.share_in_words, (own.precision, own.recall, own.base))) for own in inside]
        _table(console, ("inside", "precision", "recall", "base"), shares)
        _dim(console, words.INSIDE_RULE)
    _print_written(console, report)
    _head(console, "What it promotes")
    for name, weights in (("promotes", report.label.promoted), ("suppresses", report.label.suppressed)):
        if weights:
            console.print(Text(f"{name:>10}  {_weights(weights)}"))
    _print_readers(console, report)
    _head(console, "What its ablation does to text")
    console.print(Text(words.text_in_words(report.text)))
    for one in report.continuations:
        console.print(Text(f"…{printable(one.prompt)[-console.width + 1 :]}", style="dim"))
        console.print(Text(f"  with it: {printable(one.before)}"))
        console.print(Text(f"  without: {printable(one.after)}"))
    console.print(Text.assemble("\nWritten: ", (", ".join(written), "bold")))


def print_search(console: Console, found: FeatureSearch, *, written: str) -> None:
    """The features with the numbers that were asked for, the best first."""
    read = "" if found.corpus is None else f"; read on {printable(found.corpus)}: {found.tokens:,} tokens"
    console.print(Text(f"{len(found.features)} of {found.searched:,} features{read}"))
    if found.base is not None:
        console.print(
            Text(f"{words.share_in_words(found.base)} of the tokens lie inside {printable(found.fires or '')}")
        )
    heads = ["feature"]
    heads += [] if found.fires is None else ["precision", "recall"]
    heads += [] if found.written_from is None else ["share", "head"]
    heads += [] if found.promotes is None else ["logit"]
    heads += [] if found.corpus is None else ["fires"]
    rows: list[list[str]] = []
    for one in found.features:
        row = [one.name]
        row += [] if found.fires is None else [words.share_in_words(one.precision), words.share_in_words(one.recall)]
        row += [] if found.written_from is None else [words.share_in_words(one.share), str(one.head)]
        row += [] if one.promoted is None else [signed_number(one.promoted)]
        row += [] if one.fires is None else [f"{one.fires:,}"]
        rows.append(row)
    _table(console, heads, rows)
    for asked, rule in (
        (found.fires, words.SEARCH_FIRES),
        (found.written_from, words.WRITING_RULE),
        (found.promotes, words.PROMOTED_RULE),
    ):
        if asked is not None:
            _dim(console, rule)
    console.print(Text.assemble("Written: ", (written, "bold")))


def _print_test(console: Console, report: FeatureReport) -> None:
    _head(console, "Causal test")
    if report.test is None:
        console.print(Text(words.NEVER_FIRES))
        return
    console.print(Text(words.verdict_in_words(report.test), style="bold green" if report.test.holds else "bold yellow"))
    console.print(Text(words.firing_side(report.test, len(report.label.promoted or ()))))
    console.print(Text(words.silent_side(report.test)))
    console.print(Text(f"change most: {_weights(report.test.changed)}"))


def _print_written(console: Console, report: FeatureReport) -> None:
    _head(console, "What writes it")
    if report.written is None:
        console.print(Text(words.no_writers_because(report)))
        return
    rows = [
        (
            words.part_in_words(part),
            words.share_in_words(part.share),
            signed_number(part.part),
            signed_number(part.usual),
            ", ".join(f"{_token(t)} {words.share_in_words(share)}" for t, share in part.tokens[:_TOKENS]),
        )
        for part in report.written
    ]
    _table(console, ("part", "share", "where it fires", "on average", "from the tokens"), rows, left=(0, 4))
    _dim(console, words.WRITING_RULE)


def _print_readers(console: Console, report: FeatureReport) -> None:
    _head(console, "Which later features read it")
    if not report.readers:
        console.print(Text("No later feature changes when it is ablated."))
        return
    rows = [
        (
            reader.name,
            signed_number(reader.direct),
            signed_number(reader.total),
            words.share_in_words(reader.share),
            ", ".join(map(_token, reader.promotes)),
        )
        for reader in report.readers
    ]
    _table(console, ("feature", "direct", "total", "share", "promotes"), rows, left=(0, 4))
    _dim(console, words.READING_RULE)


def _head(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _dim(console: Console, text: str) -> None:
    console.print(Text(printable(text), style="dim"))


def _table(console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, head in enumerate(heads):
        named = head == "feature"
        table.add_column(head, justify="left" if number in left else "right", overflow="fold", no_wrap=named)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _weights(weights: TokenWeights) -> str:
    return "  ".join(f"{_token(token)} {signed_number(weight)}" for token, weight in weights)


def _token(token: str) -> str:
    return printable_token(token, _LONGEST)
