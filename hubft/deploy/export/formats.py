"""The formats of exported files: found by name and by suffix, here alone."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from hubft.base import distributions
from hubft.base.errors import JobError, Option, suggest

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples

FORMATS = {
    "onnx": "hubft.deploy.export.onnx",
    "openvino": "hubft.deploy.export.openvino",
    "pt2": "hubft.deploy.export.pt2",
    "torchscript": "hubft.deploy.export.torchscript",
    "aoti": "hubft.deploy.export.aoti",
    "tensorrt": "hubft.deploy.export.tensorrt",
    "executorch": "hubft.deploy.export.executorch",
    "coreml": "hubft.deploy.export.coreml",
    "litert": "hubft.deploy.export.litert",
}
"""Format -> the module whose `FORMAT` writes it. A new format is a file, its runner, and a line here."""
ELSEWHERE = {
    "gguf": "it is written by llama.cpp: `python convert_hf_to_gguf.py PACKAGE` takes the full package of a language "
    "model as it is, a folder of transformers",
}
"""What hubft does not write -> who does."""

SYSTEMS = {"darwin": "macOS"}  # `sys.platform` -> in words
RUNNERS = Path(__file__).with_name("runners")


class Format(Protocol):
    """How a model becomes a file of another runtime. What computes imports torch when it is called."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Of its files, with the dot."""
    extra: ClassVar[str] = ""
    """Of hubft, that brings its libraries; without one, torch is enough."""
    writers: ClassVar[Sequence[str]] = ()
    """Modules that writing needs."""
    quantizers: ClassVar[Sequence[str]] = ()
    """Modules that int8 needs beside them."""
    runtime: ClassVar[Sequence[str]] = ()
    """Modules that running needs."""
    precisions: ClassVar[Sequence[str]] = ("fp32",)
    calibrates: ClassVar[bool] = True
    """Whether int8 needs data: where it rounds weights alone, it does not."""
    code: ClassVar[bool] = False
    """Whether loading its files runs what they hold: then only on request."""
    hints: ClassVar[bool] = False
    """Whether its runtime computes in fewer bits by itself where the machine can."""
    platform: ClassVar[str] = ""
    """On which alone its files run, as `sys.platform` names it."""

    variable: ClassVar[str] = ""
    """Of the environment, that names the Python which has its libraries, where those cannot lie beside any torch."""

    program: ClassVar[str] = ""
    """Of `runners/`, that runs its files; that of its own name, if none is given."""

    @property
    def runner(self) -> Path:
        """The program that runs its files without hubft."""
        return RUNNERS / f"{self.program or self.name}.py"

    @property
    def python(self) -> str:
        """The Python that has its libraries, and that runs its files in a process of its own."""
        return sys.executable

    def by(self, python: str) -> Format:
        """Return the format with the libraries of another Python; only of one that has a `variable`."""
        return self

    def lacking(self, modules: Sequence[str]) -> list[str]:
        """Return which modules its Python has not."""
        return [module for module in modules if importlib.util.find_spec(module) is None]

    @property
    def cure(self) -> str:
        """What to do where some are not there."""
        return distributions.installs(self.extra)

    def ways(self, it: Exportable, precision: str) -> Sequence[str]:
        """Return how a precision can be reached, the fastest first: the first whose file is good enough is taken."""
        return (precision,)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        """Write the model, with its metadata, to a path where nothing is.

        :param way: one of `ways`.
        :param samples: those to calibrate on, where the precision needs such.
        """
        ...

    def notes(self, it: Exportable, path: Path) -> Sequence[str]:
        """Return what a user should know of a file that was written."""
        return ()

    def companions(self, path: Path) -> Sequence[Path]:
        """Return the further files that make up a file of this format; none for most."""
        return ()


def runs_here(form: Format) -> bool:
    """Tell whether a format's files run on this system."""
    return form.platform in ("", sys.platform)


def named(name: str) -> Format:
    """Return the format of that name.

    :raises JobError: there is none.
    """
    if name in ELSEWHERE:
        raise JobError(Option("format"), f" {name}: {ELSEWHERE[name]}")
    if name not in FORMATS:
        raise JobError(Option("format"), f" {name!r}: known formats are {', '.join(FORMATS)}.{suggest(name, FORMATS)}")
    found: Format = importlib.import_module(FORMATS[name]).FORMAT
    return found


def of(path: Path) -> Format | None:
    """Return the format of a file by its suffix, the longest that fits; None where none does."""
    fitting = [one for one in map(named, FORMATS) if path.name.lower().endswith(one.suffix)]
    return max(fitting, key=lambda one: len(one.suffix), default=None)


def require(form: Format, modules: Sequence[str], what: str) -> None:
    """Check that the libraries of a format are there.

    :raises JobError: one is not; says what to install.
    """
    if missing := form.lacking(modules):
        raise JobError(f"{what} {distributions.missing(', '.join(missing), form.cure)}")
