"""Runs what PyTorch itself wrote, with PyTorch and numpy, and nothing else: .pt2, .ts and .aoti.pt2.

All three run what they hold when they are loaded: only files you trust.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy

MOST = 2**24  # bytes of a text


def load(path: str, threads: int = 0, exact: bool = True) -> Callable[..., list[numpy.ndarray]]:
    """Return a function from a batch, an array for each input, to the outputs.

    :param threads: to compute with; 0 is the runtime's choice. They are those of the whole process.
    :param exact: compute in fp32, whatever is faster here: PyTorch does nothing else.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    module = _module(path)

    @torch.inference_mode()
    def run(*arrays: numpy.ndarray) -> list[numpy.ndarray]:
        found = module(*map(torch.from_numpy, arrays))
        return [one.numpy() for one in (found if isinstance(found, tuple | list) else (found,))]

    return run


def _module(path: str) -> Any:
    import torch

    if path.endswith(".aoti.pt2"):
        # Else a batch or an input of another size is answered in the shape of the right one.
        os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
        import torch._inductor

        return torch._inductor.aoti_load_package(path)
    if path.endswith(".pt2"):
        return torch.export.load(path).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated was said when it was written
        return torch.jit.load(path)


def metadata(path: str) -> dict[str, str]:
    """Return the texts in the file, by name; nothing of it is loaded for that."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for one in archive.infolist():
            name = one.filename.partition("/extra/")[2]
            if one.file_size > MOST:
                continue
            if name:
                found[name] = archive.read(one).decode()
            elif one.filename.endswith(".wrapper_metadata.json"):  # where AOTInductor keeps them
                found |= {key: text for key, text in json.loads(archive.read(one)).items() if isinstance(text, str)}
    return found
