"""Parquet files of ours: a table whose columns have stated types, and JSON about it under the key `jumpwire`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from graphs.files.plain_json import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

HEAD_KEY: Final = b"jumpwire"


def read_parquet(path: str | Path) -> "tuple[pa.Table, bytes | None]":
    """The table of a file, and the text under the key; None where there is none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not Parquet, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]}).") from None
    return table, (table.schema.metadata or {}).get(HEAD_KEY)


def write_parquet(table: "pa.Table", path: str | Path) -> None:
    """Write a table. The file is closed even where the disk is full, which one that pyarrow opens is not."""
    import pyarrow.parquet as pq

    with Path(path).open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def parsed_head(path: str | Path, head: bytes) -> Any:
    """The content of the text under the key.

    Raises:
        ValueError: the text is not valid JSON.
    """
    try:
        return parse_json(head)
    except ValueError as error:
        raise ValueError(f"{path}: what it says of itself is not valid JSON ({error}).") from None


def check_columns(table: "pa.Table", types: "Mapping[str, pa.DataType]") -> None:
    """Check that a table has these columns, of these types, without empty cells; a dictionary counts as its values.

    Raises:
        ValueError: a column is missing, has another type, or has empty cells.
    """
    import pyarrow as pa

    for name, expected in types.items():
        if table.column_names.count(name) != 1:
            raise ValueError(f"the column {name!r} is missing.")
        column = table[name]
        found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if found != expected:
            raise ValueError(f"the column {name!r} holds {column.type}; expected {expected}.")
        if column.null_count:
            raise ValueError(f"the column {name!r} has {column.null_count} cells without a value.")
