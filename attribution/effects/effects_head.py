"""The types of what a file of effects says of itself, and of its columns."""

from typing import Final

import pyarrow as pa

from graphs.files.typed_content import FileContent

FLOATS: Final = ("clean", "patch", "effect", "open_effect")
WHOLE: Final = ("example", "position", "index")
NAMES: Final = ("site", "kind", "gates")
COLUMN_TYPES: Final = {
    **dict.fromkeys(FLOATS, pa.float64()),
    **dict.fromkeys(WHOLE, pa.int32()),
    **dict.fromkeys(NAMES, pa.string()),
}


class Versioned(FileContent):
    """What every version has."""

    schema_version: int


class EffectsHead(Versioned):
    """What `Effects` holds beside its columns."""

    method: str
    metric: str
    unit: str
    metric_unit: str
    sign: str
    error_mode: str
    patch_value: str
    residual_law: str
    settings: dict[str, str | int | float]
    sites: list[str]
    clean_metric: list[float]
    total_effect: list[float]
    residual: list[float] | None
