"""What Arrow's schemas and batches hold, as cells: shared by Parquet files and the sets of `datasets`.

Imports pyarrow: imported itself only when such a table is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

BATCH = 8192  # rows that are Python objects at a time, beside those that are kept
BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def is_bytes(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in BINARY)


def packed(schema: pa.Schema) -> frozenset[str]:
    """Return the columns that hold the bytes of a file each: bytes, or a struct of `bytes` and `path`."""
    return frozenset(field.name for field in schema if is_bytes(field.type) or is_struct(field.type))


def is_struct(kind: pa.DataType) -> bool:
    """Tell whether a column is the struct by which `datasets` stores a file: its bytes, or its path, or both."""
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and is_bytes(kind.field("bytes").type))


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return column -> names of its classes, where `datasets` wrote them beside the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: _names(features[name]) for name in schema.names if name in features}
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: names for name, names in found.items() if names}


def _names(feature: object) -> tuple[str, ...]:
    """Return the names of a ClassLabel, or of a list of them, as any release of `datasets` writes it."""
    if isinstance(feature, list):
        return _names(feature[0]) if feature else ()
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return _names(feature.get("feature"))
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def cells(
    batches: Iterable[pa.RecordBatch | pa.Table], columns: Sequence[str], names: Mapping[str, tuple[str, ...]]
) -> Iterator[Sequence[Any]]:
    """Yield the cells of each row, classes by their names; of the struct of a file its path."""
    for batch in batches:
        yield from zip(*(_column(batch.column(column), names.get(column)) for column in columns), strict=True)


def _column(values: Any, names: Sequence[str] | None) -> list[Any]:
    found = values.to_pylist()
    if names is not None:
        return [_named(value, names) for value in found]
    if is_struct(values.type) or (pa.types.is_struct(values.type) and values.type.get_field_index("path") >= 0):
        return [None if value is None else value.get("path") for value in found]
    return list(found)


def _named(value: Any, names: Sequence[str]) -> Any:
    """Return the name of a class by its number; of -1, by which `datasets` says that there is no label, a gap."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None if value == -1 else value
    return value
