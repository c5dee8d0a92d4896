"""The one border to exporters: what they raise, and what torch.export and PT2E make of a module."""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from hubft.base.errors import ExportError, HubftError, Unconvertible, reason
from hubft.base.files import full, refusal
from hubft.base.quiet import quiet
from hubft.deploy.export.exportable import MOST, Exportable
from hubft.deploy.export.samples import Samples
from hubft.inputs import Free

NAMED = (
    r"op='([\w.]+)'",  # torch.onnx
    r"rule found for operations: ([\w.:]+)",  # OpenVINO
    r"Operator torch\._ops\.([\w.]+) is not",  # ExecuTorch
    r"out variants: \{'([\w:]+)'",
    r"Unsupported fx node \w+, kind ([\w:]+)",  # Core ML
    r"node (\w+) \(\w+\) got",
    r"\b((?:aten|prims|torchvision|timm|quantized|torchao)(?:\.|::)\w+(?:\.\w+)?)",  # anybody
)
"""How libraries name an operation that they do not know, and one at all."""
OURS = ("torch.", "hubft.")  # modules whose lines are none of a model's
LONGEST = 300  # characters of what a library says


@contextmanager
def border(what: str, kind: type[ExportError] = Unconvertible) -> Iterator[None]:
    """Have whatever an exporter raises told in one line, and what it prints and warns of swallowed.

    :raises ExportError: of that kind, in place of all but errors of ours and of the disk.
    :raises OSError: the disk is full.
    """
    try:
        with quiet():
            yield
    except (HubftError, KeyboardInterrupt):
        raise
    except Exception as error:
        if refusal(error, "the file"):
            raise
        if code := full(str(error)):
            raise OSError(code, os.strerror(code)) from error
        raise kind(f"{what}: {_why(error)}") from error


@contextmanager
def quantizing() -> Iterator[None]:
    """Have what a quantizer raises told so that other ways are tried.

    :raises ExportError: in place of all but errors of ours and of the disk.
    """
    with border("it cannot be quantized so", ExportError):
        yield


def _why(error: BaseException) -> str:
    """Return why an exporter failed: the operation or the line of the model, where one is named, and the first error
    of all."""
    first, chain = error, [error]
    while (cause := first.__cause__ or first.__context__) and cause not in chain:
        first = cause
        chain.append(cause)
    said = " ".join(str(one) for one in reversed(chain))
    found = next(filter(None, (re.search(pattern, said) for pattern in NAMED)), None)
    named = f"the operation {found[1]} cannot be written; " if found else _where(chain)
    return f"{named}{reason(first)[:LONGEST]}"


def _where(chain: Sequence[BaseException]) -> str:
    """Return in a phrase which line of a model could not be followed; nothing, where none is to blame."""
    for error in chain:
        every = list(walk_tb(error.__traceback__))
        methods = [its for its in every if isinstance(its[0].f_locals.get("self"), nn.Module)]
        own = [its for its in methods if not its[0].f_globals.get("__name__", "").startswith(OURS)]
        if own:
            frame, line = own[-1]
            file = frame.f_code.co_filename
            return f"line {line} of {Path(file).name} cannot be followed, `{linecache.getline(file, line).strip()}`; "
    return ""


def exported(it: Exportable) -> tuple[ExportedProgram, int]:
    """Return the module as an exported program, and its batch size: 0 where it may be any.

    :raises ExportError: its Python cannot be followed for a batch of any size nor for one sample.
    """
    try:
        with border("it has no batch of any size"):
            given, shapes = it.given([0, 1]), torch.export.ShapesCollection()
            for tensor, axes in zip(given, _axes(it), strict=True):
                shapes[tensor] = axes
            return torch.export.export(it.module, given, dynamic_shapes=shapes), 0
    except ExportError:
        with border(f"{it.manifest.job.reference} cannot be exported"):
            return alone(it), 1


def _axes(it: Exportable) -> list[dict[int, Any]]:
    """Return of each tensor the sizes that may be any, by place."""
    free = {size for sizes in it.sizes for size in sizes if isinstance(size, Free)}
    dims = {size: Dim(size.name, min=1, max=size.most) for size in free}
    batch = Dim("batch", min=1, max=MOST)
    return [
        {0: batch, **{place: dims[size] for place, size in enumerate(sizes, 1) if isinstance(size, Free)}}
        for sizes in it.sizes
    ]


def alone(it: Exportable) -> ExportedProgram:
    """Return the module as an exported program for one sample, filled up to its largest sizes."""
    return torch.export.export(it.module, it.given([0], whole=True))


def quantized(program: ExportedProgram, quantizer: Any, samples: Samples, whole: bool = False) -> nn.Module:
    """Return a program as a module in int8, its ranges taken from training samples, one at a time.

    It is done by PT2E of torchao (https://docs.pytorch.org/ao/stable/). What is rounded, a quantizer of torchao's kind
    says.

    :param whole: the program takes them at their largest sizes.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for given in samples.calibration(whole=whole):
            prepared(*given)
    made: nn.Module = convert_pt2e(prepared)
    return made
