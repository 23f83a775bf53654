"""The quality of dictionaries as versioned JSON: all numbers, and families at equal L0.

    {"dictionaries": [{"name": ..., "family": ..., "sites": [{"site": ..., "l0": ..., "alone": {...}}], ...}],
     "at_equal_l0": [{"site": ..., "measure": "FVU", "l0": ..., "of": ..., "values": {family: ...}}]}

The fields are those of `DictionaryQuality` and `AtEqualL0`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from graphs.files.plain_json import write_versioned_json
from graphs.plain_data import as_plain_data
from graphs.quality.dictionary_quality import DictionaryQuality
from graphs.quality.equal_l0 import compare_at_equal_l0

SCHEMA: Final = "jumpwire.dictionary_quality"
SCHEMA_VERSION: Final = 1


def save_qualities(qualities: Sequence[DictionaryQuality], path: str | Path) -> None:
    """Write qualities that were measured on one text; keys are sorted and floats keep every digit.

    Raises:
        ValueError: the texts differ, there are no qualities, or a number is not finite.
    """
    content = {"dictionaries": list(qualities), "at_equal_l0": compare_at_equal_l0(qualities)}
    write_versioned_json(path, SCHEMA, SCHEMA_VERSION, as_plain_data(content))
