"""The commands that bring a package to where it works: exported to files of other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hubft.base.console import Console
from hubft.base.files import read_json
from hubft.cli.options import Json, Trust
from hubft.deploy.export import asked as asking
from hubft.deploy.export.asked import Asked

Seconds = Annotated[float, Parameter(help="That the timing of a batch size may take.")]


def export(
    package: str,
    *,
    format: str,
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    output: Path | None = None,
    data: str = "",
    with_preprocess: Annotated[bool, Parameter(negative=())] = False,
    max_drop: float = 1.0,
    python: str = "",
    trust: Trust = False,
) -> None:
    """Export PACKAGE to a file of another runtime, proved by that runtime before it is put in place.

    Parameters
    ----------
    package
        Folder of a run or of a package, or owner/name[@revision] on the Hugging Face Hub.
    format
        Of the file: onnx, openvino, pt2, torchscript, aoti, tensorrt, executorch, coreml or litert.
    precision
        In which it computes; int8 needs --data.
    output
        Its path; without one, it lies in the working folder and is named after the package.
    data
        Labelled data, as for `finetune`: int8 is calibrated on those to train on, and the file is judged by those to
        validate on.
    with_preprocess
        The file takes uint8 images of the model's size and gives probabilities.
    max_drop
        Points of the score on the validation part that the file may lose.
    python
        Of the environment that has litert-torch, for litert; without it, that of HUBFT_LITERT_PYTHON, or this one.
    """
    from hubft.data import reading  # which imports Pillow

    asked = Asked(format, precision, str(output or ""), data, with_preprocess, max_drop, python)
    asking.check(asked)  # what is wrong is told before seconds go into importing torch
    if data:
        reading.check(data)
    from hubft.deploy.export import export as exports

    console = Console()
    for line in exports.export(package, asked, trust, console).lines():
        console.say(line)


def benchmark(
    package: str,
    data: str,
    *,
    against: str = "",
    max_drop: float = 0.5,
    output: Path | None = None,
    threads: int = 0,
    seconds: Seconds = 20.0,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Compare what PACKAGE can become: score, size, memory and latency of each, on your data and this machine.

    Parameters
    ----------
    package
        Folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or an exported file.
    data
        Labelled data, as for `finetune`: candidates are judged on the part to validate on, and made with the rest.
    against
        What to compare, by commas: methods of --compress, formats of `export` with :PRECISION, several joined by +, as
        in int8,onnx,openvino:int8,prune:0.5+onnx; files and packages. Without it, what fits this machine.
    max_drop
        Points of the score that a candidate may lose.
    output
        Folder of files, table and picture; without it, `benchmark` in the folder of the run, whose report gets both.
    threads
        That all compute with; 0 is PyTorch's number.
    """
    from hubft.data import reading

    reading.check(data)  # what is wrong is told before seconds go into importing torch
    from hubft.deploy import benchmark as benchmarks
    from hubft.deploy import verdict

    console = Console(as_json=as_json)
    words = tuple(word for word in against.split(",") if word.strip())
    asked = benchmarks.Asked(words, max_drop, str(output or ""), threads, seconds)
    found = benchmarks.compare(package, data, asked, trust, console)
    console.answer({"folder": str(found.folder), **read_json(found.folder / benchmarks.TABLE)})
    verdict.show(console, found.rows, found.facts)
    console.say(f"written  {found.folder / benchmarks.TABLE}")
    console.say(f"picture  {found.picture}")
