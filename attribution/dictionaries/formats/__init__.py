"""File formats of dictionaries, one file each, and the error of a file that cannot be used.

To add a format: a function from a folder to an `SAE` in a file of its own, and one line in `FORMATS` of
`dictionaries/load.py`. Other rooms import from `attribution.dictionaries`.
"""

from pathlib import Path


class SAEFileError(ValueError):
    """A file of an SAE is missing, unreadable or inconsistent. The message: file, key, expected, found."""

    def __init__(self, file: str | Path, fault: str) -> None:
        super().__init__(str(file), fault)

    def __str__(self) -> str:
        return ": ".join(self.args)
