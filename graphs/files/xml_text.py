"""Any text as text that XML can hold, and back: what it cannot hold is written as \\uXXXX, a backslash as two."""

import re
from typing import Final

_UNSAFE: Final = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPED: Final = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


def to_xml(text: str) -> str:
    """Without control characters, halves of surrogate pairs and line breaks."""
    return _UNSAFE.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", text)


def from_xml(text: str) -> str:
    """The inverse of `to_xml`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", text)
