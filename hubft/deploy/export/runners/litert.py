"""Runs a .tflite with LiteRT (ai_edge_litert) and numpy, and nothing else."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy

MOST = 2**24  # bytes of a text
SIGNATURE = "serving_default"  # that litert-torch gives a model
# Places of fields in the tables of https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
BUFFERS, METADATA, NAME, BUFFER, DATA = 4, 6, 0, 1, 0


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[[numpy.ndarray], list[numpy.ndarray]]:
    """Return a function from a batch of one image to the outputs.

    :param threads: to compute with; 0 is the runtime's choice.
    :param exact: compute in fp32, whatever is faster here: LiteRT on a CPU computes as the file was written.
    """
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path, num_threads=threads or None).get_signature_runner(SIGNATURE)
    [(name, given)] = runner.get_input_details().items()
    shape, kind = list(given["shape"]), given["dtype"]
    outputs = sorted(runner.get_output_details(), key=lambda one: int(one.rpartition("_")[2]))

    def run(batch: numpy.ndarray) -> list[numpy.ndarray]:
        if list(batch.shape) != shape or batch.dtype != kind:  # it would take another size, and answer in its shape
            raise ValueError(f"it takes images {[*map(int, shape)]} in {kind.__name__}, not {list(batch.shape)}")
        found = runner(**{name: batch})
        return [found[one] for one in outputs]

    return run


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name; no library is needed for that, and nothing of it is loaded."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] != b"TFL3":
            raise ValueError("it is no model of LiteRT")
        (model,) = struct.unpack_from("<I", data)
        buffers, found = list(_tables(data, model, BUFFERS)), {}
        for entry in _tables(data, model, METADATA):
            number = struct.unpack_from("<I", data, place)[0] if (place := _field(data, entry, BUFFER)) else 0
            found[_text(data, entry, NAME)] = _text(data, buffers[number], DATA)
    return found


def _field(data: mmap.mmap, table: int, number: int) -> int:
    """Return where a field of a table lies, 0 where the table has not got it (https://flatbuffers.dev/internals)."""
    names = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, names)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", data, names + 4 + 2 * number)
    return table + offset if offset else 0


def _items(data: mmap.mmap, table: int, number: int) -> tuple[int, int]:
    """Return where the items of a field lie, and how many they are."""
    place = _field(data, table, number)
    if not place:
        return 0, 0
    place += struct.unpack_from("<I", data, place)[0]
    return place + 4, struct.unpack_from("<I", data, place)[0]


def _tables(data: mmap.mmap, table: int, number: int) -> Iterator[int]:
    first, many = _items(data, table, number)
    for place in range(first, first + 4 * many, 4):
        yield place + struct.unpack_from("<I", data, place)[0]


def _text(data: mmap.mmap, table: int, number: int) -> str:
    first, size = _items(data, table, number)
    if size > MOST:
        raise ValueError("its metadata is no list of texts")
    return data[first : first + size].decode("utf-8", "replace")
