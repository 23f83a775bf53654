"""What `labels` prints: each feature's label, its strongest contexts, and the tokens it promotes and suppresses."""

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from circuits.terminal.printable import printable, printable_token
from graphs import Context, FeatureLabel, Labels

_LONGEST_LABEL = 200
_LONGEST_TOKEN = 24
_INDENT = 9
_LABEL = {"yours": "yours", "contexts": "automatic"}


def print_labels(
    console: Console, labels: Labels, *, places: Mapping[tuple[str, int], str], rows: int, contexts: int, written: str
) -> None:
    """The first `rows` labels with `contexts` contexts each; `places` has effects of circuit features, in words."""
    console.print(Text(f"{len(labels)} feature(s), read on {printable(labels.corpus)}: {labels.tokens:,} tokens"))
    for label in list(labels)[:rows]:
        console.print()
        _print_label(console, label, places.get((label.site, label.index)), contexts)
    console.print()
    if len(labels) > rows:
        console.print(f"{len(labels) - rows} more in the file; --rows shows more.")
    console.print(Text("Contexts: the activation, then the text, with the active token between > and <", style="dim"))
    if any(context.writers for label in labels for context in label.contexts):
        note = "←: attention heads and source tokens that wrote the feature, in units of the encoder's projection"
        console.print(Text(note, style="dim"))
    console.print(
        Text("promotes: logits of the decoder direction alone, relative to their mean over tokens", style="dim")
    )
    console.print(Text.assemble(("Labels are in ", ""), (written, "bold"), (".", "")))


def _print_label(console: Console, label: FeatureLabel, place: str | None, contexts: int) -> None:
    head = Text.assemble((label.name, "bold cyan"))
    if place is not None:
        head.append(f"   {place}")
    console.print(head)
    console.print(
        Text.assemble((printable(label.text, _LONGEST_LABEL), "bold"), (f"   ({_LABEL[label.source]})", "dim"))
    )
    mean = "" if label.mean_activation is None else f", mean activation there {label.mean_activation:.2f}"
    console.print(Text(f"active on {_share(label.frequency)} of tokens{mean}", style="dim"))
    for context in label.contexts[:contexts]:
        console.print(context_line(context, console.width))
        if context.writers:
            console.print(_writers_line(context, console.width))
    for name, tokens, colour in (("promotes", label.promoted, "green"), ("suppresses", label.suppressed, "magenta")):
        if tokens:
            listed = "  ".join(f"{_token(token)} {weight:+.1f}" for token, weight in tokens)
            console.print(_cut(Text(f"{name:>10}  {listed}", style=colour), console.width))


def context_line(context: Context, width: int) -> Text:
    """Activation and context on one line of `width`; the active token is bold, between > and <, and never cut."""
    words = [printable(token) for token in context.tokens]
    marked = words[context.place]
    core = printable_token(marked, _LONGEST_TOKEN)
    before = "".join(words[: context.place]) + marked[: len(marked) - len(marked.lstrip())]
    after = "".join(words[context.place + 1 :])
    room = max(width - _INDENT - len(core) - 3, 10)
    kept_after = min(len(after), max(room // 3, room - len(before)))
    if len(before) > (left := room - kept_after):
        before = f"…{before[len(before) - left + 1 :]}"
    if len(after) > kept_after:
        after = f"{after[: kept_after - 1]}…"
    marking = ((">", "dim"), (core, "bold yellow"), ("<", "dim"))
    return Text.assemble((f"{context.activation:8.2f} ", "dim"), before.lstrip(), *marking, after)


def _writers_line(context: Context, width: int) -> Text:
    parts = "   ".join(
        f"head {w.head} {_token(w.token)} ({'here' if w.back == 0 else f'{w.back} back'}) {w.part:+.2f}"
        for w in context.writers
    )
    return _cut(Text(f"{'':{_INDENT}}← {parts}", style="blue"), width)


def _token(token: str) -> str:
    return printable_token(token, _LONGEST_TOKEN)


def _share(frequency: float) -> str:
    return f"{frequency:.1%}" if frequency == 0 or frequency >= 0.001 else f"{100 * frequency:.1g}%"


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
