"""The types of a ranking's rows, and of what its file says of itself."""

from typing import Annotated, Any, Literal

from pydantic import Field

from graphs.fields.quantities import Count, Magnitude
from graphs.files.typed_content import FileContent


class RankingHead(FileContent):
    """The metadata of the file."""

    method: str
    examples: Count
    total_effect: float
    metric: str
    unit: str
    sign: str
    error_mode: str
    patch_value: str
    positions_mean: str
    settings: dict[str, str | int | float]
    sites: list[str]
    positions: list[Annotated[list[str], Field(min_length=3, max_length=3)]]
    left_out: Annotated[dict[Annotated[str, Field(pattern=r"^[0-9]{1,18}$")], str], Field(default_factory=dict)]
    undecided: Count = 0
    warnings: Annotated[list[dict[str, Any]], Field(default_factory=list)]


class RankingRow(FileContent):
    """A node with its averages."""

    kind: Literal["feature", "error", "token"]
    site: str | None
    position: str
    index: Count | None
    effect: float
    mean_absolute: Magnitude
    standard_error: Magnitude | None
    clean: float | None
    patch: float | None
    count: Count
    verified: Count
    examples: list[Count]
    example_effects: list[float]
