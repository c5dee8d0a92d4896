"""An exported file at work: in this process, or in a fresh one that knows nothing of hubft."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy
import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import batches
from hubft.base.errors import ExportError, reason
from hubft.deploy.export import serve
from hubft.deploy.export.exportable import About
from hubft.deploy.export.formats import Format
from hubft.deploy.export.samples import given
from hubft.inputs import Free, Inputs
from hubft.publish.manifest import Manifest
from hubft.tasks.task import fits

Run = Callable[..., list[numpy.ndarray]]
"""From a batch, an array for each of a file's inputs in their order, to its outputs."""

LARGEST = 2**32  # bytes of an answer of another process


def here(form: Format, path: Path, threads: int = 0, exact: bool = True) -> Run:
    """Return what runs a file in this process, or beside it where its runtime lies in another environment.

    :raises ExportError: its runtime does not take it.
    """
    if form.python != sys.executable:
        return _kept(form, path, threads, exact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a runtime's about itself: experimental, deprecated
        run = _told(path, lambda: _runner(form).load(str(path), threads, exact))
    return lambda *arrays: _told(path, lambda: run(*arrays))


def metadata(form: Format, path: Path) -> dict[str, str]:
    """Return the texts that a file holds, by name.

    :raises ExportError: it is no file of its format.
    """
    found: dict[str, str] = _told(path, lambda: _runner(form).metadata(str(path)))
    return found


def shapes(form: Format, path: Path) -> list[list[int]]:
    """Return the shapes of a file's inputs and outputs by its own description, of a format that does not run here.

    :raises ExportError: it is no file of its format.
    """
    found: list[list[int]] = _told(path, lambda: _runner(form).shapes(str(path)))
    return found


def _runner(form: Format) -> Any:
    return importlib.import_module(f"hubft.deploy.export.runners.{form.runner.stem}")


def _told(path: Path, call: Callable[[], Any]) -> Any:
    """Return what a runtime gives; the border for all that it raises."""
    try:
        return call()
    except Exception as error:
        raise ExportError(f"{path.name}: {reason(error)[:500]}") from error


@contextmanager
def fresh(form: Format, path: Path, threads: int, exact: bool) -> Iterator[Fresh]:
    """Give what runs a file in a fresh process of its format's Python, which has no hubft.

    :raises ExportError: the runtime does not take the file, or the process ended.
    """
    command = [
        form.python,
        "-I",
        serve.__file__,
        str(form.runner),
        str(path),
        str(threads),
        "exact" if exact else "native",
    ]
    with TemporaryFile() as heard:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=heard)
        assert process.stdin and process.stdout
        try:
            yield Fresh(path, process, process.stdin, process.stdout, heard)
        finally:
            with suppress(BrokenPipeError):  # it ended before it had read all
                process.stdin.close()
            process.stdout.close()
            process.terminate()
            process.wait()


def _kept(form: Format, path: Path, threads: int, exact: bool) -> Fresh:
    """Return the same, in a process that ends when nobody holds what is returned any more."""
    with ExitStack() as stack:
        run = stack.enter_context(fresh(form, path, threads, exact))
        weakref.finalize(run, stack.pop_all().close)
    return run


class Fresh:
    """A fresh process that runs a file: called as any `Run`."""

    def __init__(
        self, path: Path, process: subprocess.Popen[bytes], given: IO[bytes], answers: IO[bytes], heard: IO[bytes]
    ) -> None:
        self.path, self.process, self.given, self.answers, self.heard = path, process, given, answers, heard
        self.peak = 0
        """Most bytes that it held until its last answer."""
        self._answer()

    def __call__(self, *arrays: numpy.ndarray) -> list[numpy.ndarray]:
        try:
            self.given.write(len(arrays).to_bytes(8, "little"))
            for array in arrays:
                buffer = io.BytesIO()
                numpy.save(buffer, numpy.ascontiguousarray(array), allow_pickle=False)
                self.given.write(len(buffer.getvalue()).to_bytes(8, "little"))
                self.given.write(buffer.getvalue())
            self.given.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> list[numpy.ndarray]:
        said = json.loads(self._read())
        self.peak = said["peak"]
        if said["error"]:
            raise ExportError(f"{self.path.name}: {said['error'][:500]}")
        if "hubft" in said["modules"]:
            raise ExportError(f"{self.path.name}: its runner imported hubft, which others do not have")
        return [numpy.load(io.BytesIO(self._read()), allow_pickle=False) for _ in range(said["arrays"])]

    def _read(self) -> bytes:
        length = int.from_bytes(self.answers.read(8), "little")
        data = self.answers.read(length) if 0 < length <= LARGEST else b""
        if not data or len(data) < length:
            raise self._ended()
        return data

    def _ended(self) -> ExportError:
        self.process.terminate()
        code = self.process.wait()
        self.heard.seek(0)
        last = " ".join(self.heard.read()[-2000:].decode(errors="replace").split("\n")[-3:]).strip()
        return ExportError(f"{self.path.name}: the process that ran it ended with code {code}. {last[-500:]}".rstrip())


class Running(nn.Module):
    """A file as a module: the model's inputs in, its outputs out, a batch of another shape refused."""

    def __init__(self, run: Run, about: About, manifest: Manifest) -> None:
        super().__init__()
        self.run, self.about = run, about
        self.inputs, self.task = manifest.inputs, manifest.task

    def forward(self, inputs: Any) -> Tensor:
        """Return float32 `[batch, outputs]`.

        :param inputs: as the model takes them; for a file that takes pixels, those of `exportable.raw`.
        """
        for sizes, tensor in zip(self.inputs.arrays.values(), batches.leaves(inputs), strict=True):
            if not _fits(tuple(tensor.shape[1:]), sizes):
                raise ExportError(f"it takes {_words(self.inputs)}, not {list(tensor.shape)}")
        number = batches.count(inputs)
        step = self.about.batch or number
        parts = [self._answered(batches.rows(inputs, start, start + step)) for start in range(0, number, step)]
        return torch.cat(parts).to(batches.leaves(inputs)[0].device)

    def _answered(self, part: Any) -> Tensor:
        whole = modality.of(self.inputs).whole(part, self.inputs) if self.about.whole else part
        arrays = [one.cpu().numpy() for one in given(whole, self.about.pixels)]
        outputs = torch.from_numpy(numpy.array(self.run(*arrays)[-1])).float()
        number = batches.count(part)
        if len(outputs) != number or not fits(self.task, outputs.shape[1:]):
            raise ExportError(f"it gave {list(outputs.shape)} for {number} samples and {self.task.outputs} outputs")
        return outputs


def _fits(shape: tuple[int, ...], sizes: tuple[int | Free, ...]) -> bool:
    return len(shape) == len(sizes) and all(
        1 <= its <= size.most if isinstance(size, Free) else its == size for its, size in zip(shape, sizes, strict=True)
    )


def _words(inputs: Inputs) -> str:
    """Return what a model takes, by the names of its tensors: `images [batch, 3, 32, 32]`."""
    return ", ".join(
        f"{name} [{', '.join(['batch', *(_most(size) if isinstance(size, Free) else str(size) for size in sizes)])}]"
        for name, sizes in inputs.arrays.items()
    )


def _most(size: Free) -> str:
    return f"{size.most} {size.name} at most"
