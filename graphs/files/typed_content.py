"""The content of a file as typed data: pydantic checks every key, and what does not fit is one sentence.

<place> is <what is there>; expected <what may be there>
"""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from graphs.fields.type_faults import TypeFault


class FileContent(BaseModel):
    """An object in a file: its keys with their types. Nothing is converted, numbers are finite, other keys are passed.

    The description of a field says in an error what is expected there.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


_Content = TypeVar("_Content", bound=FileContent)


def typed(kind: type[_Content], content: Any) -> _Content:
    """The content as this kind.

    Raises:
        ValueError: a key is missing or holds something else; the message names the first.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(_sentence(kind, TypeFault.of(error, content))) from None


def _sentence(kind: type[FileContent], fault: TypeFault) -> str:
    key = fault.place[0] if len(fault.place) == 1 else None
    described = kind.model_fields[key].description if isinstance(key, str) else None
    return fault.sentence(fault.at() or "the content", described)
