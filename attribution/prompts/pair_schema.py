"""The types of a pair's keys, as a row of a file has them."""

from typing import Annotated, Any

from pydantic import Field

from graphs.files.typed_content import FileContent

_IDS = "token ids, which are whole numbers"
Ids = Annotated[list[int], Field(default_factory=list, description=_IDS)]
Id = Annotated[int, Field(description="a token id, which is a whole number")]
AnswerIds = Annotated[list[int], Field(default_factory=list, min_length=1, description=_IDS)]
Answers = Annotated[
    list[str | int | list[int]],
    Field(default_factory=list, min_length=1, description="a list of answers: texts, token ids, or lists of token ids"),
]
Roles = Annotated[
    list[str] | dict[str, Any] | None,
    Field(description="a list of names, one for each token, or an object from names to spans of the text"),
]


class PairRow(FileContent):
    """What each key may hold; `pair_entry.py` says which must be there."""

    clean: str = ""
    patch: str = ""
    prompt: str = ""
    clean_ids: Ids
    patch_ids: Ids
    prompt_ids: Ids
    answer: Annotated[str, Field(description="text; several answers are `answers`")] = ""
    answer_id: Id = 0
    answer_ids: AnswerIds
    answers: Answers
    wrong: Annotated[str, Field(description="text; several wrong answers are `wrongs`")] = ""
    wrong_id: Id = 0
    wrong_ids: AnswerIds
    wrongs: Answers
    roles: Roles = None
    template: Annotated[str | None, Field(description="the name of a template")] = None
