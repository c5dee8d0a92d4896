"""Answers batches from a pipe with a runner, in a process of its own: run as a file, it imports nothing of hubft.

    python -I serve.py RUNNER FILE THREADS exact|native

In, for each batch: how many arrays it has (8 bytes, little-endian), and of each its length in bytes and a .npy. Out:
the length of a JSON text and that text, `{"error", "modules", "arrays"}`, and so many .npy with a length each. The
first answer has no batch: it tells whether the file could be loaded.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO


def main(runner: str, file: str, threads: str, how: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a runtime that prints must not be read as an answer
    import numpy

    try:
        spec = importlib.util.spec_from_file_location("runner", runner)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        run = module.load(file, int(threads), how == "exact")
    except Exception as error:
        _answer(answers, error, [])
        return
    _answer(answers, None, [])
    while number := sys.stdin.buffer.read(8):
        data = [_read() for _ in range(int.from_bytes(number, "little"))]
        try:
            _answer(answers, None, run(*(numpy.load(io.BytesIO(one), allow_pickle=False) for one in data)))
        except Exception as error:
            _answer(answers, error, [])


def _read() -> bytes:
    return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8), "little"))


def _answer(answers: BinaryIO, error: Exception | None, arrays: list[Any]) -> None:
    import numpy

    said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000] if error else ""
    roots = sorted({name.partition(".")[0] for name in sys.modules})
    _put(answers, json.dumps({"error": said, "modules": roots, "arrays": len(arrays), "peak": peak()}).encode())
    for array in arrays:
        buffer = io.BytesIO()
        numpy.save(buffer, numpy.asarray(array), allow_pickle=False)
        _put(answers, buffer.getvalue())
    answers.flush()


def peak() -> int:
    """Return the most bytes that this process held.

    Linux's own figure of the process: that of getrusage begins with what the parent held.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def _put(answers: BinaryIO, data: bytes) -> None:
    answers.write(len(data).to_bytes(8, "little"))
    answers.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
