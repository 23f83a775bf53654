"""Text of tokens, and answers as what follows the prompt, for every kind of tokenizer."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.models.tokenising import (
    following_ids,
    shown_in_text,
    shown_tokens,
    text_ids,
    token_text,
    token_texts,
)
from tests.worlds.tokenizers import KINDS, byte_fallback, byte_level, words

MADE: dict[str, Any] = {name: make() for name, make in KINDS.items()}
SPANNING = {name: t for name, t in MADE.items() if name.startswith("byte")}
TEXT = "the cat 😀 sat, 日本 é👩‍👧 on\nthe  mat"


@pytest.mark.parametrize("name", SPANNING)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
@settings(deadline=None, max_examples=60)
def test_the_pieces_joined_are_the_text(name: str, text: str) -> None:
    tokenizer = SPANNING[name]
    ids = text_ids(tokenizer, text)
    pieces = token_texts(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", SPANNING)
def test_a_character_of_several_tokens_stands_at_the_first(name: str) -> None:
    tokenizer, shown, expected = SPANNING[name], 0, list[str]()
    read = tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    for _, end in read["offset_mapping"]:
        expected.append(TEXT[shown:end])
        shown = max(shown, end)
    assert token_texts(tokenizer, read["input_ids"]) == tuple(expected)
    assert "".join(expected) == TEXT
    assert "" in expected


def test_words_are_joined_by_the_spaces_that_the_tokenizer_puts_between_them() -> None:
    tokenizer = MADE["words"]
    assert token_texts(tokenizer, text_ids(tokenizer, "the cat sat, he")) == ("the", " cat", " sat", " ,", " he")
    assert token_texts(None, [4, 5]) == ("4", " 5")
    assert token_texts(tokenizer, []) == ()


def test_bytes_that_are_no_text_are_shown_as_the_decoder_shows_them() -> None:
    tokenizer: Any = byte_fallback()
    ids = tokenizer.convert_tokens_to_ids(["<0xF0>", "<0x9F>", "▁the", "<0xFF>"])
    assert "".join(token_texts(tokenizer, ids)) == tokenizer.decode(ids)


def test_one_token_alone_keeps_its_space_and_names_its_bytes() -> None:
    fallback, level = byte_fallback(), byte_level()
    assert [token_text(fallback, i) for i in text_ids(fallback, "the cat")] == [" the", " cat"]
    assert [token_text(fallback, i) for i in text_ids(fallback, "é")][1:] == ["<0xC3>", "<0xA9>"]
    assert [token_text(level, i) for i in text_ids(level, "the cat")] == ["the", " cat"]
    assert [token_text(level, i) for i in text_ids(level, "é")] == ["<0xC3>", "<0xA9>"]
    assert token_text(words(), text_ids(words(), "cat")[0]) == "cat"
    assert token_text(None, 7) == "7"


@pytest.mark.parametrize("name", SPANNING)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12), cut=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_no_token_is_shown_as_nothing_or_as_a_mark_that_hides_its_bytes(name: str, text: str, cut: int) -> None:
    tokenizer = SPANNING[name]
    whole = text_ids(tokenizer, text)
    for ids in (whole, whole[cut:], whole[: len(whole) - cut]):
        one_by_one, in_text = shown_tokens(tokenizer, ids), shown_in_text(tokenizer, ids)
        assert len(one_by_one) == len(in_text) == len(ids)
        for shown in (*one_by_one, "".join(in_text)):
            assert not set(shown) & {"\ufffd", *map(chr, range(32))}
        assert all(one_by_one)
    visible = text.isprintable() and "\ufffd" not in text
    assert not visible or "".join(shown_in_text(tokenizer, whole)) == tokenizer.decode(whole)


def test_bytes_and_control_characters_are_shown_by_value() -> None:
    fallback, level = byte_fallback(), byte_level()
    ids: Any = fallback.convert_tokens_to_ids(["<0x80>", "▁the", "<0xF0>", "<0x9F>", "<0x0A>", "▁cat", "<0xFF>"])
    assert shown_tokens(fallback, ids) == ("<0x80>", " the", "<0xF0>", "<0x9F>", "<0x0A>", " cat", "<0xFF>")
    assert shown_in_text(fallback, ids) == shown_tokens(fallback, ids)
    assert [token_text(fallback, token) for token in ids] == list(shown_tokens(fallback, ids))
    newline = text_ids(level, "the\n")
    assert (shown_tokens(level, newline), token_text(level, newline[-1])) == (("the", "<0x0A>"), "<0x0A>")


def test_a_character_of_several_tokens_is_read_whole_once_and_its_other_bytes_by_value() -> None:
    for tokenizer in (byte_fallback(), byte_level()):
        ids = text_ids(tokenizer, "the “")[-3:]
        assert shown_tokens(tokenizer, ids) == ("“", "<0x80>", "<0x9C>")
        assert shown_in_text(tokenizer, ids) == ("“", "", "")
    replacement = text_ids(byte_level(), "\ufffd")
    assert shown_tokens(byte_level(), replacement) == ("<0xEF>", "<0xBF>", "<0xBD>")


def test_a_vocabulary_that_hides_its_bytes_is_shown_by_number() -> None:
    class Strange:
        def decode(self, ids: list[int]) -> str:
            return "".join("\ufffd" if token == 7 else "\x1b[1m" for token in ids)

        def convert_ids_to_tokens(self, token: int) -> str | bytes:
            return b"a\x9c" if token == 7 else "strange"

    class Stranger(Strange):
        def convert_ids_to_tokens(self, token: int) -> str:
            return "漢"

    assert [token_text(Strange(), t) for t in (7, 8)] == ["a<0x9C>", "<0x1B>[1m"]
    assert token_text(Stranger(), 7) == "<token 7>"


@pytest.mark.parametrize("name", MADE)
def test_an_answer_is_what_follows_the_prompt(name: str) -> None:
    tokenizer = MADE[name]
    both, alone = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("the cat sat on", "the cat"))
    assert alone + following_ids(tokenizer, "the cat", " sat on") == both


def test_a_space_that_the_tokenizer_drops_need_not_be_written() -> None:
    tokenizer = words()
    assert following_ids(tokenizer, "the cat", "sat") == following_ids(tokenizer, "the cat", " sat")
    assert following_ids(tokenizer, "the cat", "zebra") == [tokenizer.unk_token_id]


def test_a_piece_without_its_space_is_another_token() -> None:
    tokenizer = byte_fallback()
    (bare,), (spaced,) = (following_ids(tokenizer, "the", a) for a in ("s", " the"))
    assert tokenizer.convert_ids_to_tokens([bare, spaced]) == ["s", "▁the"]


def test_an_answer_that_changes_the_prompts_tokens_is_an_error_that_shows_both() -> None:
    tokenizer = byte_level()
    with pytest.raises(ValueError, match=r"changes .* 'the\| c' becomes 'the\| cat'\. Did you mean ' at'"):
        following_ids(tokenizer, "the c", "at")
    with pytest.raises(ValueError, match=r"'the\| ' becomes 'the\| cat'\. End the prompt without a space .* as ' cat'"):
        following_ids(tokenizer, "the ", "cat")
