"""What `quality` prints: of each set its sentence and tables, and families at equal L0."""

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuits.terminal.printable import printable
from graphs import DictionaryQuality
from graphs.quality.quality_words import (
    NOT_COMPARED,
    QualityTable,
    about_the_text,
    equal_l0_table,
    quality_headline,
    quality_tables,
)


def print_qualities(
    console: Console, qualities: Sequence[DictionaryQuality], *, rows: int, files: Mapping[str, str]
) -> None:
    """All numbers, of every table the first `rows` rows, and the files."""
    parts: list[RenderableType] = []
    noted = False
    for quality in qualities:
        parts += [Text(printable(quality_headline(quality)), style="bold"), Text(printable(about_the_text(quality)))]
        for table in quality_tables(quality):
            parts += [Text(), *_table(table, rows, noted=noted)]
        parts.append(Text())
        noted = True
    if len(qualities) > 1:
        parts += [*_table(equal_l0_table(qualities), rows, empty=NOT_COMPARED), Text()]
    width = max(map(len, files))
    parts += [Text.assemble((f"{name:<{width}}  ", "dim"), path) for name, path in files.items()]
    console.print(Group(*parts))


def _table(found: QualityTable, rows: int, *, noted: bool = False, empty: str = "") -> list[RenderableType]:
    """The table, and what its columns mean unless that is noted already."""
    if not found.rows:
        return [Text(empty)]
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for number, head in enumerate(found.heads):
        table.add_column(Text(printable(head)), justify="right" if number else "left", overflow="fold")
    for row in found.rows[:rows]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    more = len(found.rows) - rows
    left = [Text(f"{more} more rows in the files; --rows shows more.")] if more > 0 else []
    notes = [] if noted else [Text(found.note, style="dim")]
    return [Text(found.title, style="bold cyan"), table, *left, *notes]
