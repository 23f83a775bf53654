"""The content of a file as typed data: pydantic checks every key, and what does not fit is one sentence.

<place> is <what is there>; expected <what may be there>
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from graphs.plain_data import shortened


class FileContent(BaseModel):
    """An object in a file: its keys with their types. Nothing is converted, numbers are finite, other keys are passed.

    The description of a field says in an error what is expected there.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


_WORDS: Final = {
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid list": "a list",
    "a valid dictionary": "an object",
    "None": "null",
}
"""How pydantic's words for a type are said of a file."""
_Content = TypeVar("_Content", bound=FileContent)


def typed(kind: type[_Content], content: Any) -> _Content:
    """The content as this kind.

    Raises:
        ValueError: a key is missing or holds something else; the message names the first.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(_sentence(kind, content, error)) from None


def _sentence(kind: type[FileContent], content: Any, error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    place, found = _at(faults[0]["loc"], content)
    if faults[0]["type"] == "missing":
        return f"{_name((*place, faults[0]['loc'][-1]))} is missing"
    described = kind.model_fields[place[0]].description if len(place) == 1 and isinstance(place[0], str) else None
    said = (fault["msg"] for fault in faults if _at(fault["loc"], content)[0] == place)
    expected = described or " or ".join(dict.fromkeys(map(_expected, said)))
    return f"{_name(place)} is {shortened(found)}; expected {expected}"


def _at(location: Sequence[str | int], content: Any) -> tuple[tuple[str | int, ...], Any]:
    """The part of pydantic's location that lies in the content, without its names of types; and what is there."""
    place: list[str | int] = []
    for key in location:
        inside = isinstance(content, dict) if isinstance(key, str) else isinstance(content, list)
        if not inside or (isinstance(content, dict) and key not in content):
            break
        place.append(key)
        content = content[key]
    return tuple(place), content


def _name(place: Sequence[str | int]) -> str:
    """A place as it is written: `nodes[3].layer`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") or "the content"


def _expected(message: str) -> str:
    said = message.removeprefix("Input should be ").replace("List should have", "a list with").split(" after")[0]
    return next((words for start, words in _WORDS.items() if said.startswith(start)), said[0].lower() + said[1:])
