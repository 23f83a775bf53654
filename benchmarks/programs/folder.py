"""Where the compiled programs lie."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("compiled")
