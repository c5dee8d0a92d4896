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


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[..., list[numpy.ndarray]]:
    """Return a function from a batch of one sample, an array for each input, to the outputs.

    :param threads: to compute with; 0 is the runtime's choice.
    :param exact: compute in fp32, whatever is faster here: LiteRT on a CPU computes as the file was written.
    """
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path, num_threads=threads or None).get_signature_runner(SIGNATURE)
    details = runner.get_input_details()
    names, outputs = (sorted(all_, key=_place) for all_ in (details, runner.get_output_details()))
    wanted = [([*map(int, details[name]["shape"])], details[name]["dtype"]) for name in names]

    def run(*arrays: numpy.ndarray) -> list[numpy.ndarray]:
        given = [(list(array.shape), array.dtype.type) for array in arrays]
        if given != wanted:  # it would take another size, and answer in its shape
            raise ValueError(f"it takes {wanted}, not {given}")
        found = runner(**dict(zip(names, arrays, strict=True)))
        return [found[one] for one in outputs]

    return run


def _place(name: str) -> int:
    """Return the place of an input or output by its name, `args_0`, `output_1`."""
    return int(name.rpartition("_")[2])


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
