"""Writes a .tflite from a .pt2, by litert-torch (https://github.com/google-ai-edge/litert-torch), without hubft.

    python -I litert.py PROGRAM.pt2 TEXTS.json FILE.tflite fp32|int8

It prints a JSON text: what went wrong, or "".
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(program: str, texts: str, file: str, precision: str) -> None:
    answer = os.dup(1)
    os.dup2(2, 1)  # the libraries print
    said = ""
    try:
        _convert(program, file)
        if precision == "int8":
            _quantize(file)
        _state(file, json.loads(Path(texts).read_text(encoding="utf-8")))
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:4000]
    os.write(answer, json.dumps(said).encode())


def _convert(program: str, file: str) -> None:
    """Write a program's module, for a batch of the size of its own example."""
    import litert_torch
    import torch

    found = torch.export.load(program)
    assert found.example_inputs is not None
    litert_torch.convert(found.module(), found.example_inputs[0]).export(file)


def _quantize(file: str) -> None:
    """Have weights kept in int8, a scale a channel, and activations rounded as it runs, which asks for no images."""
    from ai_edge_quantizer import quantizer, recipe

    done = quantizer.Quantizer(file, recipe.dynamic_wi8_afp32()).quantize()
    Path(file).write_bytes(done.quantized_model)


def _state(file: str, texts: dict[str, str]) -> None:
    """Put texts into the file's metadata, each in a buffer of its own."""
    import flatbuffers
    import numpy
    from ai_edge_litert import schema_py_generated as schema

    data = Path(file).read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # it lies behind the model, which will be of another length
            buffer.data = numpy.frombuffer(data, numpy.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for name, text in texts.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = numpy.frombuffer(text.encode(), numpy.uint8)
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    Path(file).write_bytes(builder.Output())


if __name__ == "__main__":
    main(*sys.argv[1:])
