"""LiteRT (.tflite), for phones and boards, by litert-torch; one sample at a time, int8 by ai-edge-quantizer.

Its libraries ask for another torch than hubft may have. So they may lie in an environment of their own, which the user
names: its Python converts the exported program, proves the file, and runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubft.base.errors import JobError
from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples

PATIENCE = 60  # seconds for an environment to say what it has
FIND = "import importlib.util as i, json, sys; print(json.dumps([m for m in sys.argv[1:] if not i.find_spec(m)]))"
WRITER = Path(__file__).with_name("writers") / "litert.py"


class LiteRT(Format):
    name: ClassVar[str] = "litert"
    suffix: ClassVar[str] = ".tflite"
    writers: ClassVar[Sequence[str]] = ("litert_torch",)
    quantizers: ClassVar[Sequence[str]] = ("ai_edge_quantizer",)
    runtime: ClassVar[Sequence[str]] = ("ai_edge_litert",)
    precisions: ClassVar[Sequence[str]] = ("fp32", "int8")
    variable: ClassVar[str] = "HUBFT_LITERT_PYTHON"

    def __init__(self, named: str = "") -> None:
        self.named = named

    @property
    def python(self) -> str:
        return self.named or os.environ.get(self.variable) or sys.executable

    def by(self, python: str) -> LiteRT:
        return LiteRT(python)

    def lacking(self, modules: Sequence[str]) -> list[str]:
        """Return which modules the environment has not.

        :raises JobError: what was named is no Python.
        """
        if self.python == sys.executable:
            return super().lacking(modules)
        try:
            words = [self.python, "-I", "-c", FIND, *modules]
            ran = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
            found = json.loads(ran.stdout)
            return [module for module in modules if module in found]
        except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it does not answer as one"
            raise JobError(f"{self.python!r} is no Python of an environment ({why}): {self._making}") from error

    @property
    def cure(self) -> str:
        if self.python != sys.executable:
            return f"{self.python} -m pip install litert-torch"
        return f"it may ask for another torch than this one, so {self._making}"

    @property
    def _making(self) -> str:
        return (
            "make it one of its own, python -m venv litert; litert/bin/pip install litert-torch; and name its Python, "
            f"{self.variable}=litert/bin/python"
        )

    def ways(self, it: Exportable, precision: str) -> Sequence[str]:
        return (precision if precision == "fp32" else "int8, dynamic",)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch

        from hubft.base.files import write_json
        from hubft.deploy.export import program

        given, texts = path.with_name("given.pt2"), path.with_name("texts.json")
        facts = it.about(self.name, way, 1)
        write_json(texts, it.metadata(facts))
        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"):
            torch.export.save(program.alone(it), given)
            self._converted(given, texts, path, facts.precision)
        given.unlink()
        texts.unlink()

    def _converted(self, given: Path, texts: Path, path: Path, precision: str) -> None:
        words = [self.python, "-I", str(WRITER), *map(str, (given, texts, path)), precision]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, errors="replace")
        if ran.returncode or not ran.stdout:
            last = " ".join(ran.stderr.split())[-200:]
            raise RuntimeError(f"the process that converted it ended with code {ran.returncode}. {last}")
        if said := json.loads(ran.stdout):
            raise RuntimeError(said)


FORMAT = LiteRT()
