"""Automatic labels on disk: one file for each site, named by a hash of everything that the labels depend on."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from graphs import Labels, load_labels, save_labels
from graphs.files.whole_file import whole_file

_VERSION: Final = 2
"""Raise this when the same inputs give other labels."""


@dataclass(frozen=True)
class LabelCache:
    """Keeps labels as files in `folder`. If it is None, nothing is kept."""

    folder: Path | None

    def read(self, key: Mapping[str, Any]) -> Labels | None:
        """The labels that were made with this key, or None. A damaged file is ignored with a warning."""
        if self.folder is None or not (path := self._path(self.folder, key)).is_file():
            return None
        try:
            labels = load_labels(path)
            if labels.inputs != _plain(key):
                raise ValueError(f"{path} was made from other inputs than its name says.")
            if [(label.site, label.index) for label in labels] != [(key["site"], i) for i in key["features"]]:
                raise ValueError(f"{path} holds other features than it says.")
        except (ValueError, OSError) as error:
            warnings.warn(f"A cached label file is damaged and is made again: {error}", stacklevel=3)
            return None
        return labels

    def write(self, key: Mapping[str, Any], labels: Labels) -> None:
        """Keep the labels that were made with this key."""
        if self.folder is None:
            return
        with whole_file(self._path(self.folder, key)) as path:
            save_labels(Labels(labels.labels, labels.corpus, labels.tokens, _plain(key)), path)

    def _path(self, folder: Path, key: Mapping[str, Any]) -> Path:
        content = json.dumps({"version": _VERSION, **key}, sort_keys=True)
        return folder / f"labels-{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key as JSON gives it back, with lists in place of tuples."""
    return json.loads(json.dumps(dict(key)))
