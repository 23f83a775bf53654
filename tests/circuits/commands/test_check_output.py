"""What the terminal says of a verdict, at the usual widths."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from circuits.commands.check_output import print_verdict
from tests.worlds.synthetic_verdicts import HOSTILE, edges, verdict

USUAL = verdict()
EDGES = edges()
FILES = {"page": Path("out/check/verdict.html"), "verdict": Path("out/check/verdict.json")}


def printed(name: str = "usual", *, width: int = 80, rows: int = 8) -> list[str]:
    text = io.StringIO()
    print_verdict(Console(file=text, width=width), EDGES[name], rows=rows, files=FILES)
    return text.getvalue().splitlines()


def words(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("width", [80, 120])
def test_the_sentence_comes_first_and_nothing_is_cut_off(name: str, width: int) -> None:
    lines = printed(name, width=width)
    assert words(lines).startswith(EDGES[name].sentence)
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [80, 120])
def test_the_largest_errors_come_with_estimate_exact_flag_cause_and_node(width: int) -> None:
    lines = printed(width=width)
    start = next(n for n, line in enumerate(lines) if line.split()[:3] == ["error", "estimate", "exact"])
    shown = [line.split() for line in lines[start + 1 : start + 9]]
    assert [row[:3] for row in shown] == [
        [f"{v.error:+.4f}", f"{v.estimate:+.4f}", f"{v.exact:+.4f}"] for v in USUAL.flagged[:8]
    ]
    assert all(v.cause in row for v, row in zip(USUAL.flagged, shown, strict=False))
    assert [row[-1] for row in shown] == [str(v.example) for v in USUAL.flagged[:8]]
    assert lines[start + 9].strip() == ""
    assert any("The 8 largest errors of 31 flagged nodes" in line for line in lines)


def test_names_are_whole_where_there_is_room_and_short_where_not() -> None:
    assert any("blocks.1.hook_attn_out/33@5" in line for line in printed(width=120))
    assert any("L1 attn_out/33@5" in line for line in printed(width=80))


def test_every_site_and_every_file_is_listed() -> None:
    lines = printed()
    start = next(n for n, line in enumerate(lines) if line.split()[:2] == ["site", "checked"])
    assert [line.split()[0] for line in lines[start + 1 : start + 8]] == ["tokens", "L0", "L0", "L1", "L1", "L2", "L2"]
    assert lines[-2].split() == ["page", "out/check/verdict.html"]
    assert lines[-1].split() == ["verdict", "out/check/verdict.json"]


def test_key_numbers_are_read_in_plain_words() -> None:
    text = words(printed(width=120))
    assert "with 95% confidence: a random audit of 100 found 1" in text
    assert "SAE errors: estimate path, exact frozen" in text
    assert "no gate is met" in words(printed("live"))
    assert "every node was checked" in words(printed("all verified"))


def test_without_flags_there_is_no_table_of_flags() -> None:
    assert "flagged nodes" not in words(printed("no flag")).lower()


def test_markup_in_labels_is_text() -> None:
    assert HOSTILE in words(printed("hostile", width=160))
