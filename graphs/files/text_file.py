"""Text files: UTF-8, with or without a byte order mark. Every text file of a user's is read here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MARK: Final = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which some editors put in front; it is not part of the text."""
_OTHER_MARKS: Final = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text(path: str | Path) -> str:
    """The text of a file, without a byte order mark; a line end `\\r\\n` is `\\n`.

    Raises:
        ValueError: the file is not UTF-8. The message names the file, the byte, and where it is.
    """
    return _decoded(path, Path(path).read_bytes().removeprefix(_MARK), 1).replace("\r\n", "\n")


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a file without their ends, read when they are needed.

    A line ends with `\\n` or `\\r\\n` only: other characters that separate lines may be part of its text.

    Raises:
        ValueError: as `read_text`, when the line is reached.
    """
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = _decoded(path, line.removeprefix(_MARK) if number == 1 else line, number)
            yield text.removesuffix("\n").removesuffix("\r")


def _decoded(path: str | Path, content: bytes, first_line: int) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        looks = _OTHER_MARKS.get(content[:2]) if first_line == 1 else None
        guess = "" if looks is None else f" It looks like {looks}."
        raise ValueError(
            f"{path}: not UTF-8 text: line {line} has the byte 0x{content[error.start]:02x} after {column} bytes."
            f"{guess} Save the file as UTF-8."
        ) from None
