"""The commands that bring a package to where it works: exported to files of other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hubft.base.console import Console
from hubft.cli.options import Trust
from hubft.deploy.export import asked as asking
from hubft.deploy.export.asked import Asked


def export(
    package: str,
    *,
    format: str,
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    output: Path | None = None,
    data: str = "",
    with_preprocess: Annotated[bool, Parameter(negative=())] = False,
    max_drop: float = 1.0,
    trust: Trust = False,
) -> None:
    """Export PACKAGE to a file of another runtime, proved by that runtime before it is put in place.

    Parameters
    ----------
    package
        Folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    format
        Of the file: onnx, openvino, pt2, torchscript, aoti, tensorrt, executorch or coreml.
    precision
        In which it computes; int8 needs --data.
    output
        Its path; without one, it lies in the working folder and is named after the package.
    data
        Labelled images, as for `finetune`: int8 is calibrated on those to train on, and the file is judged by those to
        validate on.
    with_preprocess
        The file takes uint8 images of the model's size and gives probabilities.
    max_drop
        Points of the score on the validation images that the file may lose.
    """
    from hubft.data import reading  # which imports Pillow

    asked = Asked(format, precision, str(output or ""), data, with_preprocess, max_drop)
    asking.check(asked)  # what is wrong is told before seconds go into importing torch
    if data:
        reading.check(data)
    from hubft.deploy.export import export as exports

    console = Console()
    for line in exports.export(package, asked, trust, console).lines():
        console.say(line)
