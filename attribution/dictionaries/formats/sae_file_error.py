"""The one error for SAE files that cannot be used."""

from pathlib import Path


class SAEFileError(ValueError):
    """A file of an SAE is missing, unreadable or inconsistent. Says file, key, expected and found."""

    def __init__(self, file: str | Path, fault: str) -> None:
        super().__init__(str(file), fault)

    def __str__(self) -> str:
        return ": ".join(self.args)
