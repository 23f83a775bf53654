"""What a notebook shows of a circuit and of a verdict: evidence first, in HTML without scripts and in plain text."""

from dataclasses import replace

import pytest
from IPython.core.formatters import DisplayFormatter

from graphs import CircuitGraph, Verdict, certificate_lines
from graphs.words.certificate_words import COLOUR_MARKS
from tests.graphs.words.test_certificate_words import CERTIFICATE, CIRCUIT
from tests.worlds.synthetic_verdicts import HOSTILE, edges, verdict

CERTIFIED = replace(CIRCUIT, certificate=CERTIFICATE)


def shown(thing: CircuitGraph | Verdict) -> dict[str, str]:
    """As a notebook's kernel asks for it."""
    data, _ = DisplayFormatter().format(thing)
    return data


def test_a_circuit_shows_every_judging_line_of_its_certificate_and_its_strongest_node() -> None:
    data = shown(CERTIFIED)
    judged = [line for line in certificate_lines(CERTIFIED) if line.colour != "grey"]
    assert judged
    for line in judged:
        assert f"{COLOUR_MARKS[line.colour]}  {line.name}" in data["text/plain"]
        assert line.name in data["text/html"]
    strongest = CERTIFIED.strongest(1)[0]
    assert CERTIFIED.name(strongest.node).rsplit("/", 1)[-1] in data["text/plain"]


def test_a_circuit_without_a_certificate_says_so() -> None:
    bare = replace(CIRCUIT, certificate=None)
    for text in shown(bare).values():
        assert f"no certificate; {bare.measurement.evidence}" in text


def test_a_verdict_shows_its_sentence_and_the_largest_errors_first() -> None:
    made = verdict()
    text = shown(made)["text/plain"]
    assert text.startswith(f"■ {made.sentence}")
    rows = text.partition("largest errors of 31 flagged nodes")[2].splitlines()[2:]
    assert len(rows) == 5
    assert [row.split()[2] for row in rows] == [str(v.example) for v in made.flagged[:5]]
    assert "largest errors" not in shown(edges()["no flag"])["text/plain"]


@pytest.mark.parametrize("name", ["usual", "hostile", "one node"])
def test_views_hold_no_script_of_others_and_stay_small(name: str) -> None:
    data = shown(edges()[name])
    assert HOSTILE not in data["text/html"]
    assert "<script" not in data["text/html"]
    assert sum(map(len, data.values())) < 20_000
    assert max(map(len, data["text/plain"].splitlines()[1:])) < 160
