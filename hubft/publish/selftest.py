"""A few inputs and the logits they must give: any consumer can prove its preprocessing and its weights by them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hubft import modality
from hubft.base.batches import concat
from hubft.base.errors import HubftError, PackageError, reason
from hubft.hookspecs import Loaded
from hubft.publish import tensors
from hubft.publish.package import SELFTEST, Package
from hubft.tasks.task import fits

TOLERANCE = 1e-3
"""Of a logit, as a share of the largest one, or of 1 where all are smaller."""


def make(loaded: Loaded) -> dict[str, Tensor]:
    """Return examples of what the model takes, as its modality draws them, and `logits` (float32
    `[examples, outputs]`, or as its task has them).

    The logits are computed on the CPU in float32, whatever the run used: a GPU's TF32 could not be met elsewhere.
    """
    examples = modality.of(loaded.inputs).examples(loaded.inputs)
    return {**examples, "logits": _logits(replace(loaded, model=copy.deepcopy(loaded.model).cpu()), examples)}


def prove(package: Package, loaded: Loaded) -> float:
    """Return the largest difference between the model's logits and those of the package's self-test.

    :raises PackageError: a difference beyond TOLERANCE, a self-test that is none, or a model that cannot compute it.
    """
    examples, wanted = _read(package)
    try:
        given = _logits(loaded, examples)
    except HubftError:
        raise
    except Exception as error:  # whatever layers say whose widths, by a record of anybody's, do not fit each other
        raise PackageError(f"{package.folder}: the model cannot compute the self-test: {reason(error)}") from error
    if given.shape != wanted.shape:
        shapes = f"{list(given.shape)}, not {list(wanted.shape)}"
        raise PackageError(f"{package.folder}: the self-test gives outputs {shapes}")
    difference = float((given - wanted).abs().max())
    allowed = TOLERANCE * max(1.0, float(wanted.abs().max()))
    if not difference <= allowed:  # so that NaN fails
        raise PackageError(
            f"{package.folder}: the self-test gives logits that differ by {difference:.2g}, where {allowed:.2g} is "
            "allowed: weights, preprocessing or the model's library are not those of the run"
        )
    return difference


def _read(package: Package) -> tuple[dict[str, Tensor], Tensor]:
    path = package.folder / SELFTEST
    kind = modality.of(package.manifest.inputs)
    header = tensors.header(path)
    number = len(header) - 1
    tensors.same_names(SELFTEST, header, ["logits", *(f"{kind.word}.{i}" for i in range(number))])
    for name, (dtype, shape) in header.items():
        if name == "logits":
            good = dtype in (torch.float32, torch.bfloat16) and shape[:1] == (number,)
            good = good and fits(package.manifest.task, shape[1:])
        else:
            good = kind.is_example(dtype, shape)
        if not good or not number:
            raise PackageError(f"{SELFTEST}: {name} is {dtype} {list(shape)}")
    examples = tensors.mapped(path)
    tensors.require_finite(SELFTEST, examples)  # else infinity would allow any difference
    return examples, examples.pop("logits").float()


@torch.inference_mode()
def _logits(loaded: Loaded, examples: Mapping[str, Tensor]) -> Tensor:
    model, was_training = loaded.model, loaded.model.training
    kind = modality.of(loaded.inputs)
    model.eval()
    try:
        # One by one: the size of a batch changes the order of sums, and so the last bits.
        inputs = [kind.of_example(loaded.inputs, one) for one in examples.values()]
        outputs: Tensor = concat([loaded.forward(model, one).float() for one in inputs])
        return outputs
    finally:
        model.train(was_training)
