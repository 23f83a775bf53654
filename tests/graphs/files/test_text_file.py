"""Text files: UTF-8 with or without a mark; anything else is an error that names the file and the byte."""

from pathlib import Path

import pytest

from graphs.files.text_file import read_lines, read_text

TEXT = "ein Wörtchen\nzwei 日本\n\nlast"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mark_and_the_kind_of_line_ends_make_no_difference(tmp_path: Path, mark: bytes, end: str) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(mark + TEXT.replace("\n", end).encode())
    assert read_text(path) == TEXT
    assert list(read_lines(path)) == TEXT.split("\n")


def test_separators_of_unicode_end_no_line(tmp_path: Path) -> None:
    text = "a\u2028b\x0cc\x85d\re\x1ef"
    (tmp_path / "t.txt").write_bytes(f"{text}\r\nlast".encode())
    assert list(read_lines(tmp_path / "t.txt")) == [text, "last"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("ja\nnaïve".encode("latin-1"), r"t\.txt: not UTF-8 text: line 2 has the byte 0xef after 2 bytes\. Save"),
        ("text".encode("utf-16"), r"line 1 has the byte 0xff after 0 bytes\. It looks like UTF-16\. Save"),
        (b"cut off \xe6\x97", r"line 1 has the byte 0xe6 after 8 bytes\."),
        (b"\xef\xbb\xbfa\nb\xff", r"line 2 has the byte 0xff after 1 bytes\."),
    ],
)
def test_another_encoding_is_an_error_that_names_file_and_byte(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_text(path)
    with pytest.raises(ValueError, match=match):
        list(read_lines(path))
