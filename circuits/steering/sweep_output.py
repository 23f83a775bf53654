"""What `steer` prints: the sweep's headline and table, and what prompts are continued with at each strength."""

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuits.terminal.cautions import caution_texts
from circuits.terminal.printable import printable, printable_token
from graphs.sweeps.steering_sweep import SteeringSweep
from graphs.words.steering_words import (
    STEERING_NOTE,
    changes_in_words,
    steering_facts,
    steering_headline,
    steering_table,
    strength_in_words,
)


def print_sweep(console: Console, sweep: SteeringSweep, path: Path, *, title: str, prompts: int) -> None:
    """Print a sweep, with the texts of the first `prompts` prompts, and where its files are."""
    head = Text(f"{title}\n", style="bold").append(f"{steering_facts(sweep)}\n", style="none")
    head.append("\n".join(f"  {printable(text)}" for text in changes_in_words(sweep)), style="dim")
    parts: list[RenderableType] = [head, *caution_texts(sweep.warnings), Text()]
    parts += [Text(steering_headline(sweep), style="bold"), Text(), _table(sweep), Text(STEERING_NOTE, style="dim")]
    for number in range(min(prompts, len(sweep.prompts))):
        parts += [Text(), Text(printable(sweep.prompts[number]), style="bold"), _texts(sweep, number)]
    parts.append(Text(f"\nWritten: {path} and {path.with_suffix('.html').name}"))
    console.print(Group(*parts))


def _table(sweep: SteeringSweep) -> Table:
    heads, rows = steering_table(sweep)
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _texts(sweep: SteeringSweep, number: int) -> Table:
    """The likeliest next token at each strength, and the first sample."""
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("strength", justify="right")
    table.add_column("likeliest next", overflow="fold")
    if sweep.unsteered.samples:
        table.add_column("first continuation", overflow="fold")
    for found in sweep.strengths:
        own = [Text(printable(s.text)) for s in found.samples if s.prompt == number][:1]
        table.add_row(Text(strength_in_words(found.strength)), Text(printable_token(found.likeliest[number])), *own)
    return table
