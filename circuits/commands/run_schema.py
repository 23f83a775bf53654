"""The types of what is read of a run.json: arguments of `find`, and the hashes of what it ran on."""

from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Final, get_type_hints

from pydantic import Field, create_model

from circuits.commands.inputs import Inputs
from graphs.files.typed_content import FileContent

_SHARE: Final = Field(ge=0, lt=1, description="a share from 0 to less than 1")


class RunHashes(FileContent):
    """Of the model, of the SAE at each site, and of the prompts."""

    model: str
    saes: dict[str, str]
    prompts: str


class RunChoices(FileContent):
    """Arguments that are not `Inputs`; the defaults are what runs did that do not have them."""

    method: str = "exact"
    error: str | None = None
    patch: str | None = None
    metric: str | None = None
    per_pair: bool = False
    validation: Annotated[float | None, _SHARE] = None
    test: Annotated[float, _SHARE] = 0.0
    held_out: str | None = None
    other_examples: Annotated[int, Field(ge=0)] = 0


class RunContent(FileContent):
    """The file as a whole."""

    arguments: dict[str, Any]
    hashes: RunHashes


@cache
def all_arguments() -> type[RunChoices]:
    """The arguments, those of `Inputs` among them."""
    hints = get_type_hints(Inputs)
    own: dict[str, Any] = {f.name: (hints[f.name], f.default) for f in fields(Inputs)}
    return create_model("Arguments", __base__=RunChoices, **own)
