"""What importing a family does to a process, looked at from within that process.

    python probe.py ROOT FAMILY    # ROOT: the folder that holds the package hubft

Run as a file, so that the process has imported as little as can be when it first looks: torch, which every family
builds on, and the core.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy
import rich.style  # noqa: F401  # the core's own: it draws a number when it is imported, by whomever
import torch

TOLD = "hubft tells "
NAMES = ("socket.getaddrinfo", "socket.gethostbyname")  # audit events whose first argument is what is asked for
ADDRESSES = ("socket.connect", "socket.sendto")  # their second is; of a socket of this machine it is a path


def main(root: str, family: str) -> None:
    """Print, as JSON after TOLD, what importing the family does.

    `connections`: addresses asked for, and refused; `output`; `files` it left in the working folder; and what it
    `changed` of the process, in words.
    """
    sys.path.insert(0, root)  # for a checkout that is not installed
    from hubft.base.errors import FamilyError
    from hubft.families import plugins

    connections: list[str] = []
    _refuse_network(connections)
    before, files = _state(), set(Path().iterdir())
    with _output() as output, suppress(FamilyError):  # whether it can be imported at all is another check
        plugins.manager(family)
    after = _state()
    told = {
        "connections": connections,
        "output": output[0],
        "files": sorted(str(path) for path in set(Path().iterdir()) - files),
        "changed": [what for what, value in before.items() if after[what] != value],
    }
    print(f"\n{TOLD}{json.dumps(told)}")


def _refuse_network(asked: list[str]) -> None:
    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NAMES or (event in ADDRESSES and isinstance(arguments[1], tuple)):
            asked.append(str(arguments[event in ADDRESSES]))
            raise OSError("there is no network while a family is imported")

    sys.addaudithook(hear)


def _state() -> dict[str, Any]:
    """Return what must be the same after an import, by what to call it."""
    return {
        "the random state of torch": torch.get_rng_state().tolist(),
        "the random state of NumPy": [str(numpy.asarray(part).tolist()) for part in numpy.random.get_state()],
        "the random state of Python": random.getstate(),
        "CUDA, which it starts": torch.cuda.is_initialized(),
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
    }


@contextmanager
def _output() -> Iterator[list[str]]:
    """Catch what the process writes to its two outputs, whoever writes it, as the one item of a list."""
    said = [""]
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            file.seek(0)
            said[0] = file.read().decode(errors="replace").strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
