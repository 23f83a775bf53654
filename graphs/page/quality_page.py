"""The page of dictionaries: families at equal L0, then for each set its sentence, tables and figures."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

import plotly.graph_objects as go

from graphs.page.report_page import drawn_figures, scope_table, write_report
from graphs.quality.dictionary_quality import DictionaryQuality
from graphs.quality.equal_l0 import refuse_other_texts, sites_of
from graphs.quality.quality_figures import (
    feature_frequencies,
    parameter_histograms,
    predictions_by_site,
    quality_by_l0,
    scale_biases,
)
from graphs.quality.quality_words import (
    NOT_COMPARED,
    QualityTable,
    about_the_text,
    equal_l0_table,
    quality_headline,
    quality_tables,
)

_FIGURES: Final = (predictions_by_site, scale_biases, feature_frequencies, parameter_histograms)


def write_quality_page(qualities: Sequence[DictionaryQuality], path: str | Path, *, title: str) -> None:
    """Write the quality of dictionaries as one self-contained HTML file without requests.

    Args:
        qualities: measured on one text.
        path: the file to write.
        title: heading of the page.

    Raises:
        ValueError: the texts differ, or there are no qualities.
    """
    refuse_other_texts(qualities)
    parts, drawn = [], 0
    if len(qualities) > 1:
        curves = [quality_by_l0(qualities, site) for site in sites_of(qualities)]
        parts.append(_table(equal_l0_table(qualities), empty=NOT_COMPARED) + _figures(curves, drawn))
        drawn += len(curves)
    for quality in qualities:
        parts.append(_of_one(quality, drawn))
        drawn += len(_FIGURES)
    write_report(path, "\n".join(parts), title=title)


def _of_one(quality: DictionaryQuality, drawn: int) -> str:
    head = (
        f"<section><p class='sentence'>{escape(quality_headline(quality))}</p>"
        f"<p class='rule'>{escape(about_the_text(quality))}</p></section>"
    )
    tables = "".join(map(_table, quality_tables(quality)[:-1]))
    return head + tables + _figures([figure(quality) for figure in _FIGURES], drawn)


def _table(table: QualityTable, empty: str = "") -> str:
    shown = scope_table(table.heads, table.rows) if table.rows else f"<p>{escape(empty)}</p>"
    return f"<section><h2>{escape(table.title)}</h2>{shown}<p class='rule'>{escape(table.note)}</p></section>"


def _figures(figures: Sequence[go.Figure], start: int) -> str:
    return f"<div class='figures'>{drawn_figures(figures, start)}</div>"
