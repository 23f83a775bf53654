"""A warning on the terminal has the mark and the colour that it has in a certificate: a grave one is red."""

from circuits.terminal.cautions import caution_texts
from graphs import Caution

SENTENCE = "3 of the 10 pairs also found it."


def test_a_grave_warning_is_red_and_others_are_amber() -> None:
    some, every = (Caution("shared_pairs", "held out", {"shared": n, "pairs": 10}, SENTENCE) for n in (3, 10))
    texts = caution_texts((some, every))
    assert [text.plain for text in texts] == [f"▲ warning: {SENTENCE}", f"■ warning: {SENTENCE}"]
    assert [str(text.style) for text in texts] == ["yellow", "bold red"]
