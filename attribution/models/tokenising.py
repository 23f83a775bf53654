"""From text to token ids and back: the one place where text is tokenised. What opens a prompt is in `opening.py`.

an answer's ids     those of prompt + answer, less those of the prompt
a token's text      its part of the decoded text; a character of several tokens belongs to the first of them
a token as shown    that part; bytes that are no character, and control characters, by value: <0xE2>, <0x0A>
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

_UNFINISHED: Final = "\ufffd"
"""What decoders write for bytes that are no whole character."""
_ESCAPE: Final = "surrogateescape"
_INVISIBLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffd\udc80-\udcff]")


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text alone, without any token that the tokenizer adds.

    Raises:
        ValueError: there is no tokenizer, or the text has half of a surrogate pair.
    """
    if tokenizer is None:
        raise ValueError("The model has no tokenizer: give token ids (clean_ids, patch_ids) instead of text.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"The text {text[:40]!r} has half of a surrogate pair, which is no character.")
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def following_ids(tokenizer: Any, text: str, answer: str) -> list[int]:
    """The token ids of `answer` where it follows `text`.

    A tokenizer that reads the answer alike with and without a space before it drops spaces: words are then joined by
    one if the answer would otherwise grow into the last word.

    Raises:
        ValueError: the answer changes the text's own tokens; the message shows both, and what would not.
    """
    alone = text_ids(tokenizer, text)
    with_answer = text_ids(tokenizer, text + answer)
    if with_answer[: len(alone)] == alone:
        return with_answer[len(alone) :]
    apart = text_ids(tokenizer, f"{text} {answer}")
    keeps = apart[: len(alone)] == alone
    if keeps and text_ids(tokenizer, answer) == text_ids(tokenizer, f" {answer}"):
        return apart[len(alone) :]
    before, after = ("|".join(shown_tokens(tokenizer, ids)) for ids in (alone, with_answer))
    if text != text.rstrip():
        advice = f"End the prompt without a space and give the answer as {f' {answer.lstrip()}'!r}."
    else:
        advice = f"Did you mean {f' {answer}'!r}, with a space before it?" if keeps else "End the prompt elsewhere."
    raise ValueError(
        f"{answer!r} after the prompt changes the prompt's own tokens: {before!r} becomes {after!r}. {advice} Or give "
        "ids instead of text."
    )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """The part of the text that belongs to each token: joined, they are the text.

    A character that spans tokens stands whole at the first of them, and the others have only what follows it. Without a
    tokenizer, the numbers.
    """
    if tokenizer is None:
        return tuple(f" {token}" if n else str(token) for n, token in enumerate(ids))
    decode = _decoder(tokenizer)
    found: list[str] = []
    before, read = 0, 0
    for end in range(1, len(ids) + 1):
        text = decode(ids[before:end])
        if text.endswith(_UNFINISHED) and end < len(ids):
            continue
        limits = _limits([decode(ids[before:n]) for n in range(read, end)], text)
        found += [text[start:stop] for start, stop in pairwise(limits)]
        before, read = read, end
    return tuple(found)


def decoded_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of some ids, exactly as their tokenizer joins them."""
    return _decoder(tokenizer)(ids)


def shown_in_text(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """The tokens as they read in running text: as in `token_texts`, with what is no visible character by value."""
    texts = token_texts(tokenizer, ids)
    return tuple(
        token_text(tokenizer, token) if _UNFINISHED in text else _by_value(text)
        for token, text in zip(ids, texts, strict=True)
    )


def shown_tokens(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """The tokens as they read one by one: as in running text, and those inside a character by the value of their bytes.

    A character of several tokens stands whole at the first of them: `“`, `<0x80>`, `<0x9C>`.
    """
    texts = shown_in_text(tokenizer, ids)
    return tuple(text or token_text(tokenizer, token) for token, text in zip(ids, texts, strict=True))


def token_text(tokenizer: Any, token_id: int) -> str:
    """One token as a person reads it: with its leading space; what is no visible character by value, as `<0xE2>`.

    Its number if there is no tokenizer.
    """
    if tokenizer is None:
        return str(token_id)
    text = _decoder(tokenizer)([token_id])
    piece: Any = getattr(tokenizer, "convert_ids_to_tokens", lambda _: None)(token_id)
    if _UNFINISHED in text:
        return _bytes_of_piece(piece) or f"<token {token_id}>"
    if isinstance(piece, str) and "▁" in piece and text.strip() == piece.replace("▁", " ").strip():
        text = piece.replace("▁", " ")
    return _by_value(text)


def _decoder(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """Decodes exactly: transformers may otherwise tidy up spaces."""
    exactly = {"clean_up_tokenization_spaces": False} if hasattr(tokenizer, "clean_up_tokenization_spaces") else {}
    return lambda ids: tokenizer.decode(list(ids), **exactly) if len(ids) else ""


def _limits(parts: Sequence[str], text: str) -> list[int]:
    """How far into `text` each of its growing beginnings comes, a character that it only begins included; then its end.

    A beginning that ends inside a character decodes to marks: for that character, or for the whole run of bytes.
    """
    found, whole = list[int](), 0
    for part in parts:
        unfinished = not text.startswith(part)
        same = next((n for n, (a, b) in enumerate(zip(part, text, strict=False)) if a != b), min(len(part), len(text)))
        whole = max(whole, same)
        found.append(max([*found[-1:], min(len(text), whole + unfinished)]))
    return [*found, len(text)]


def _by_value(text: str) -> str:
    """The text, with control characters and bytes that are no character (as `surrogateescape` has them) by value."""
    return _INVISIBLE.sub(lambda found: "".join(f"<0x{b:02X}>" for b in found[0].encode("utf-8", _ESCAPE)), text)


def _bytes_of_piece(piece: Any) -> str | None:
    """An entry of a vocabulary that holds bytes, those that are no character by value; None if it holds none."""
    if isinstance(piece, bytes):
        found = piece
    elif not isinstance(piece, str):
        return None
    elif match := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", piece):
        found = bytes.fromhex(match[1])
    elif _UNFINISHED in piece:  # the character itself
        found = piece.encode()
    elif all(character in _BYTE_OF for character in piece):
        found = bytes(_BYTE_OF[character] for character in piece)
    else:
        return None
    return _by_value(found.decode("utf-8", _ESCAPE))


def _byte_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for: itself if printable, else from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


_BYTE_OF: Final = _byte_alphabet()
