"""The one border to exporters: what they raise, and what torch.export and PT2E make of a module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from hubft.base.errors import ExportError, HubftError, reason
from hubft.base.files import refusal
from hubft.base.quiet import quiet
from hubft.deploy.export.exportable import MOST, Exportable
from hubft.deploy.export.samples import Samples

OPERATION = re.compile(r"\b(?:aten|prims|torchvision|timm|quantized|torchao)(?:\.|::)\w+(?:\.\w+)?")
LONGEST = 300  # characters of what a library says


@contextmanager
def border(what: str) -> Iterator[None]:
    """Have whatever an exporter raises told in one line, and what it prints and warns of swallowed.

    :raises ExportError: in place of all but errors of ours and of the disk.
    """
    try:
        with quiet():
            yield
    except (HubftError, KeyboardInterrupt):
        raise
    except Exception as error:
        if refusal(error, "the file"):
            raise
        raise ExportError(f"{what}: {_why(error)}") from error


def _why(error: BaseException) -> str:
    """Return why an exporter failed: the operation, where one is named, and the first error of all."""
    first, chain = error, [error]
    while (cause := first.__cause__ or first.__context__) and cause not in chain:
        first = cause
        chain.append(cause)
    said = " ".join(str(one) for one in reversed(chain))
    found = OPERATION.search(said)
    named = f"the operation {found[0]} cannot be written; " if found else ""
    return f"{named}{reason(first)[:LONGEST]}"


def exported(it: Exportable) -> tuple[ExportedProgram, int]:
    """Return the module as an exported program, and its batch size: 0 where it may be any.

    :raises ExportError: its Python cannot be followed for a batch of any size nor for one image.
    """
    sizes = {0: Dim("batch", min=1, max=MOST)}
    try:
        with border("it has no batch of any size"):
            return torch.export.export(it.module, (it.examples[:2],), dynamic_shapes=(sizes,)), 0
    except ExportError:
        with border(f"{it.manifest.job.reference} cannot be exported"):
            return torch.export.export(it.module, (it.examples[:1],)), 1


def quantized(program: ExportedProgram, quantizer: Any, samples: Samples) -> nn.Module:
    """Return a program as a module in int8, its ranges taken from training images, one at a time.

    It is done by PT2E of torchao (https://docs.pytorch.org/ao/stable/). What is rounded, a quantizer of torchao's kind
    says.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for images in samples.calibration():
            prepared(images)
    made: nn.Module = convert_pt2e(prepared)
    return made
