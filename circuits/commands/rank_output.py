"""What `rank` prints: the strongest nodes, and where the file is."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from circuits.ranking.dataset import DatasetRanking
from graphs.nodes import EVERYWHERE, short_site


def print_ranking(console: Console, found: DatasetRanking, *, method: str, rows: int, file: Path) -> None:
    """A line on what was measured, the `rows` strongest nodes with the pair in which each does most, and the sign."""
    ranking = found.ranking
    console.print(
        f"{len(ranking.nodes)} nodes over {found.examples} pairs: {method}, {found.error_mode} errors, "
        f"{found.patch_value} patch; total effect {found.total_effect:+.3f} {found.unit} (mean)"
    )
    if found.left_out:
        each = "; ".join(f"pair {row}: {fault}" for row, fault in sorted(found.left_out.items()))
        console.print(f"Left out, because the metric is not finite: {each}.", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("effect", "± s.e.", "mean |.|", "pairs", "node", "most in pair"):
        words = name in ("node", "most in pair")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, min_width=None if words else 8)
    for weighted, own in list(zip(ranking.nodes, found.strongest, strict=True))[:rows]:
        error = "" if weighted.standard_error is None else f"{weighted.standard_error:.3f}"
        most = ", ".join(f"{example} ({effect:+.2f})" for example, effect in own[:1])
        values = (f"{weighted.effect:+.3f}", error, f"{weighted.mean_absolute:.3f}", str(weighted.count))
        table.add_row(*values, short_site(found.name(weighted.node)).removesuffix(f"@{EVERYWHERE}"), most)
    console.print(table)
    console.print(f"effect: in {found.unit}; {found.sign}. Pairs are numbered from 0.")
    console.print(f"All nodes are in {file}.")
