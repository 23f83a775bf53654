"""The page of one feature: what fires, writes and reads it, what it promotes, and its causal test; one HTML file.

It has no script. Its Content-Security-Policy allows the one style sheet, by its hash, and nothing else.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from graphs.feature_labels import Context
from graphs.features import feature_words as words
from graphs.features.feature_report import FeatureReport, TokenWeights, TriggerTest
from graphs.page.circuit_page import sha256_of
from graphs.words.number_formats import signed_number

_HERE: Final = Path(__file__).parent


def write_feature_page(report: FeatureReport, path: str | Path) -> None:
    """Write a feature's report as one self-contained HTML file."""
    style = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "feature_page.css"))
    text = Template((_HERE / "feature_page.html").read_text(encoding="utf-8")).substitute(
        style=style,
        style_hash=sha256_of(style),
        name=escape(report.name),
        facts=escape(f"a feature of {report.model}; {words.fires_in_words(report)}"),
        label=escape(report.label.text),
        colour=_colour(report.test),
        test=_test(report),
        fires=_fires(report),
        written=_written(report),
        promotes=_promotes(report),
        readers=_readers(report),
        text=_text(report),
    )
    Path(path).write_text(text, encoding="utf-8")


def _colour(test: TriggerTest | None) -> str:
    if test is None:
        return "grey"
    return "green" if test.holds else "red" if test.largest else "amber"


def _test(report: FeatureReport) -> str:
    test = report.test
    if test is None:
        return _paragraph(words.NEVER_FIRES)
    promoted = len(report.label.promoted or ())
    verdict = f'<p class="verdict">{escape(words.verdict_in_words(test))}</p>'
    sides = _paragraph(words.firing_side(test, promoted)) + _paragraph(words.silent_side(test))
    changed = f"<h3>Tokens that change most where it fires</h3>{_chips(test.changed)}"
    return f"{verdict}{sides}{changed}{_rule(words.CHANGED_RULE)}"


def _fires(report: FeatureReport) -> str:
    contexts = "".join(map(_context, report.label.contexts))
    tokens = [
        (_token(own.token), f"{own.fires:,}", f"{own.occurs:,}", words.share_in_words(own.fires / own.occurs))
        for own in report.fires_on
    ]
    inside = [
        (escape(own.name), *map(words.share_in_words, (own.precision, own.recall, own.base)))
        for own in report.inside
        if own.base
    ]
    return "".join(
        (
            f'<ol class="contexts">{contexts}</ol>' if contexts else _paragraph("never on this text"),
            _table(("token", "fires on", "of", "share"), tokens),
            _table(("inside", "precision", "recall", "base"), inside) + _rule(words.INSIDE_RULE) if inside else "",
        )
    )


def _context(context: Context) -> str:
    before, after = context.tokens[: context.place], context.tokens[context.place + 1 :]
    marked = f"<mark>{escape(context.tokens[context.place])}</mark>"
    text = escape("".join(before)) + marked + escape("".join(after))
    return f'<li dir="auto"><span class="number">{context.activation:.2f}</span>{text}</li>'


def _written(report: FeatureReport) -> str:
    if report.written is None:
        return _paragraph(words.no_writers_because(report))
    rows = [
        (
            f'<span class="name">{escape(words.part_in_words(part))}</span>',
            _bar(part.share),
            words.share_in_words(part.share),
            signed_number(part.part),
            signed_number(part.usual),
            _chips(part.tokens, percent=True),
        )
        for part in report.written
    ]
    heads = ("part", "", "share", "where it fires", "on average", "from the tokens")
    return _table(heads, rows, words=(0, 1, 5)) + _rule(words.WRITING_RULE)


def _promotes(report: FeatureReport) -> str:
    label = report.label
    if label.promoted is None or label.suppressed is None:
        return _paragraph("Its direction is not added to the residual stream: it promotes no token directly.")
    return (
        f"<h3>promotes</h3>{_chips(label.promoted)}<h3>suppresses</h3>{_chips(label.suppressed)}"
        f"{_rule(words.PROMOTED_RULE)}"
    )


def _readers(report: FeatureReport) -> str:
    if not report.readers:
        return _paragraph("No later feature changes when it is ablated.")
    rows = [
        (
            f'<span class="mono">{escape(words.reader_in_words(reader))}</span>',
            signed_number(reader.direct),
            signed_number(reader.total),
            words.share_in_words(reader.share),
            " ".join(map(_token, reader.promotes)),
        )
        for reader in report.readers
    ]
    return _table(("feature", "direct", "total", "share", "promotes"), rows, words=(0, 4)) + _rule(words.READING_RULE)


def _text(report: FeatureReport) -> str:
    shown = "".join(
        f'<dl dir="auto"><dt>{escape(one.prompt)}</dt><dd>with it: {escape(one.before)}</dd>'
        f"<dd>without: {escape(one.after)}</dd></dl>"
        for one in report.continuations
    )
    return _paragraph(words.text_in_words(report.text)) + shown


def _chips(weights: TokenWeights, *, percent: bool = False) -> str:
    number = words.share_in_words if percent else signed_number
    chips = (
        f'<span class="weighted">{_token(token)}<span class="number">{number(weight)}</span></span> '
        for token, weight in weights
    )
    return f'<div class="tokens">{"".join(chips)}</div>' if weights else ""


def _token(token: str) -> str:
    return f'<span class="token">{escape(token.strip() or "␣" * len(token))}</span>'


def _bar(share: float) -> str:
    """A bar of |share|, cut at its full width."""
    sign = "positive" if share > 0 else "negative"
    return (
        '<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{sign}" width="{min(abs(share), 1) * 100:.1f}" height="10"/></svg>'
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = (0,)) -> str:
    """A table of cells that are HTML; columns other than those in `words` hold numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        numbers = ["" if n in words else ' class="number"' for n in range(len(row))]
        return "".join(f"<{tag}{own}>{cell}</{tag}>" for own, cell in zip(numbers, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>" if body else ""


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _rule(text: str) -> str:
    return f'<p class="rule">{escape(text)}</p>'
