"""A feature's report, or the features of a search, as versioned JSON."""

from pathlib import Path
from typing import Final

from graphs.features.feature_report import FeatureReport
from graphs.features.feature_search import FeatureSearch
from graphs.files.plain_json import write_versioned_json
from graphs.plain_data import as_plain_data

REPORT: Final = "jumpwire.feature"
SEARCH: Final = "jumpwire.features"
SCHEMA_VERSION: Final = 1


def save_feature_report(report: FeatureReport, path: str | Path) -> None:
    """Write the report; keys are sorted and floats keep every digit."""
    write_versioned_json(path, REPORT, SCHEMA_VERSION, as_plain_data(report))


def save_feature_search(search: FeatureSearch, path: str | Path) -> None:
    """Write what a search found, likewise."""
    write_versioned_json(path, SEARCH, SCHEMA_VERSION, as_plain_data(search))
