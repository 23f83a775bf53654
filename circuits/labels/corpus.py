"""Text to read features on: documents as token ids, cut into pieces that fit the model.

A corpus is generated text of the embedded language, a text file with one document on each line, or JSONL rows with
`text`. Every pass reads it again from the start, so memory does not grow with the corpus.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from attribution.models.language_model import LanguageModel
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_lines
from graphs.short_repr import short_repr

EMBEDDED_SEED: Final = 4
"""Seed of documents on which neither the model nor the SAEs were trained or evaluated."""
EMBEDDED_DOCUMENTS: Final = 1000
LONGEST_PIECE: Final = 128
"""Tokens in a piece at most, BOS included, unless something else is asked for."""


@dataclass(frozen=True)
class Corpus:
    """Documents, as one model reads them.

    Attributes:
        name: what files and messages call the text.
        read: every call returns the documents from the start.
        model: the model whose tokenizer makes the pieces.
        share: the share of all that some of the first documents are, about; None where nobody knows.
        longest: tokens in a piece at most, BOS included.

    Raises:
        ValueError: `longest` leaves no room for text.
    """

    __repr__ = short_repr

    name: str
    read: Callable[[], Iterator[str]]
    model: LanguageModel
    longest: int = LONGEST_PIECE
    share: Callable[[Sequence[str]], float] | None = None

    def __post_init__(self) -> None:
        least = 1 + len(self.model.opening.ids)
        if self.longest < least:
            raise ValueError(f"Pieces of {self.longest} token(s) hold no text. Let `longest` be at least {least}.")

    @cached_property
    def piece_length(self) -> int:
        """Tokens of the longest piece: `longest`, or the model's context if that is shorter."""
        context = self.model.n_context
        return self.longest if context is None else min(self.longest, context)

    def pieces(self) -> Iterator[tuple[int, ...]]:
        """The token ids of every piece, opened as prompts are. Documents without tokens are skipped."""
        opening = self.model.opening.ids
        for document in self.read():
            ids = self.model.token_ids(document)
            ids = ids[len(opening) :] if tuple(ids[: len(opening)]) == opening else ids
            step = self.piece_length - len(opening)
            for start in range(0, len(ids), step):
                yield (*opening, *ids[start : start + step])

    @cached_property
    def digest_and_count(self) -> tuple[str, int]:
        """sha256 over the ids of all pieces, and the number of pieces. The hash depends on text and tokenizer."""
        sha, count = hashlib.sha256(), 0
        for count, piece in enumerate(self.pieces(), start=1):  # noqa: B007
            sha.update(json.dumps(piece).encode())
        if count == 0:
            raise ValueError(f"The corpus {self.name} is empty. Give one with text to read features on.")
        return sha.hexdigest(), count


def corpus_of(file: str | Path | None, model: LanguageModel, documents: int = EMBEDDED_DOCUMENTS) -> Corpus:
    """The text of a file; without one, so many documents of the embedded language."""
    return embedded_corpus(model, documents) if file is None else corpus_from_file(file, model)


def embedded_corpus(model: LanguageModel, documents: int = EMBEDDED_DOCUMENTS, seed: int = EMBEDDED_SEED) -> Corpus:
    """Generated text of the embedded language.

    Args:
        model: the embedded model.
        documents: number of documents, of 63 words each.
        seed: seed of the generator. The default differs from the seeds of all text that the model and its SAEs were
            trained and judged on.

    Raises:
        ValueError: fewer than 1 document.

    Examples:
        >>> corpus = embedded_corpus(model, documents=20)
        >>> corpus.name
        '20 documents of the embedded language (seed 4)'
    """
    from circuits.embedded.language import documents as generate

    if documents < 1:
        raise ValueError(f"A corpus needs at least 1 document; got {documents}.")
    name = f"{documents} documents of the embedded language (seed {seed})"
    return Corpus(name, lambda: generate(documents, seed), model, share=lambda some: len(some) / documents)


def corpus_from_file(path: str | Path, model: LanguageModel, longest: int = LONGEST_PIECE) -> Corpus:
    """A text file with one document on each line, or a .jsonl file with `text` in every row.

    Args:
        path: the file. It is read again at every pass.
        model: the model whose tokenizer is used.
        longest: tokens in a piece at most, BOS included.

    Raises:
        FileNotFoundError: no such file.
        ValueError: raised when the corpus is read, if the file is not UTF-8 or a row has no text. The message names
            the row.

    Examples:
        >>> (folder / "text.txt").write_text("the doctor sees the boats")
        25
        >>> next(corpus_from_file(folder / "text.txt", model).pieces())[0] == model.bos_id
        True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Corpus {path}: no such file.")
    size = path.stat().st_size
    return Corpus(path.name, lambda: _documents(path), model, longest, lambda some: _bytes_of(some) / size)


def refuse_bad_text(path: str | Path) -> None:
    """Refuse, without a model, a file that holds no text, or that `corpus_from_file` would refuse when it is read."""
    path = Path(path)
    if sum(1 for _ in _documents(path)) == 0:
        raise ValueError(f"Corpus {path} is empty. Give one with text to read features on.")


def _bytes_of(documents: Sequence[str]) -> int:
    """Of the documents in a file, with their ends of line."""
    return sum(len(document.encode()) + 1 for document in documents)


def _documents(path: Path) -> Iterator[str]:
    return _jsonl_rows(path) if path.suffix == ".jsonl" else _lines(path)


def _lines(path: Path) -> Iterator[str]:
    for line in read_lines(path):
        if text := line.strip():
            yield text


def _jsonl_rows(path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = parse_json(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"Corpus {path}, row {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise ValueError(f'Corpus {path}, row {number}: expected an object with "text", a string.')
        if row["text"].strip():
            yield row["text"]
