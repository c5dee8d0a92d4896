"""TorchScript: for what still runs nothing else. PyTorch has deprecated it.

A model is traced. Where values decide a branch, of which a trace keeps one side, it is scripted, if TorchScript can
read its Python.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.base.errors import Unconvertible
from hubft.deploy.export.formats import Format

if TYPE_CHECKING:
    from hubft.deploy.export.exportable import Exportable
    from hubft.deploy.export.samples import Samples


class TorchScript(Format):
    name: ClassVar[str] = "torchscript"
    suffix: ClassVar[str] = ".ts"
    program: ClassVar[str] = "pytorch"
    code: ClassVar[bool] = True

    def notes(self, it: Exportable, path: Path) -> Sequence[str]:
        return ("PyTorch has deprecated TorchScript: take pt2, onnx or openvino where you can",)

    def write(self, it: Exportable, path: Path, way: str, samples: Samples | None) -> None:
        import torch
        from torch.jit import TracerWarning  # type: ignore[attr-defined]

        from hubft.deploy.export import program

        with program.border(f"{it.manifest.job.reference} cannot be exported to {self.name}"), torch.no_grad():
            with warnings.catch_warnings(record=True) as doubts:
                warnings.simplefilter("always", TracerWarning)
                traced: Any = torch.jit.trace(it.module, it.given([0, 1]))
            if doubts:
                traced = _followed(it, traced)
            made = io.BytesIO()  # on a full disk PyTorch's own writer ends the process
            facts = it.about(self.name, way, 0)
            torch.jit.save(traced if it.free else _guarded(it, traced), made, _extra_files=it.metadata(facts))
            path.write_bytes(made.getbuffer())


def _guarded(it: Exportable, traced: Any) -> Any:
    """Return a trace that refuses images of another size."""
    import torch

    from hubft.deploy.export import guarded

    sizes = list(it.given([0])[0].shape[1:])
    return torch.jit.script(guarded.Pixels(traced, sizes) if it.pixels else guarded.Plain(traced, sizes))


def _followed(it: Exportable, traced: Any) -> Any:
    """Return a trace, if no value decides a branch, as torch.export tells; else one around the model's script.

    :raises ExportError: a value does, and TorchScript cannot read the model's Python.
    """
    from hubft.deploy.export import program

    try:
        program.exported(it)
    except Unconvertible as error:
        try:
            return _scripted(it)
        except Exception:  # it reads a part of Python alone
            raise error from None
    return traced


def _scripted(it: Exportable) -> Any:
    import torch

    from hubft.deploy.export import exportable

    module = copy.deepcopy(it.module)
    plain = next(one for one in module.modules() if isinstance(one, exportable.Plain))
    vars(plain.model).pop("preprocess", None)  # of `share.load.describe`: a module, and none of the model
    plain.model = torch.jit.script(plain.model)
    return torch.jit.trace(module, it.given([0, 1]))


FORMAT = TorchScript()
