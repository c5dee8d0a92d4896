"""A few images and the logits they must give: any consumer can prove its preprocessing and its weights by them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hubft.base.batches import concat
from hubft.base.errors import PackageError
from hubft.hookspecs import Loaded
from hubft.images.rgb import rgb
from hubft.publish import tensors
from hubft.publish.package import SELFTEST, Package

Transform = Callable[[Image.Image], Tensor]

TOLERANCE = 1e-3
"""Of a logit, as a share of the largest one, or of 1 where all are smaller."""
SHAPES = ((1.1, 1.2), (0.25, 0.36), (0.4, 0.19))
"""Height and width as shares of the resize: one that is made smaller (antialiasing shows), two made larger."""


def make(loaded: Loaded, transform: Transform) -> dict[str, Tensor]:
    """Return `image.0`, `image.1`, ... (uint8 `[height, width, 3]`, RGB) and `logits` (float32 `[images, outputs]`).

    The images are drawn, not taken from the data: a package must not carry anybody's pictures away. The
    logits are computed on the CPU in float32, whatever the run used: a GPU's TF32 could not be met elsewhere.

    :param transform: what `loaded.preprocess` describes, from a PIL image to the model's input.
    """
    resize = loaded.preprocess.resize
    side = resize if isinstance(resize, int) else min(resize)
    images = {f"image.{i}": torch.from_numpy(_draw(i, side, shares)) for i, shares in enumerate(SHAPES)}
    return {**images, "logits": _logits(replace(loaded, model=copy.deepcopy(loaded.model).cpu()), images, transform)}


def prove(package: Package, loaded: Loaded, transform: Transform) -> float:
    """Return the largest difference between the model's logits and those of the package's self-test.

    :raises PackageError: a difference beyond TOLERANCE, or a self-test that is none.
    """
    images, wanted = _read(package)
    given = _logits(loaded, images, transform)
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
    header = tensors.header(path)
    number = len(header) - 1
    tensors.same_names(SELFTEST, header, ["logits", *(f"image.{i}" for i in range(number))])
    for name, (dtype, shape) in header.items():
        if name == "logits":
            good = dtype in (torch.float32, torch.bfloat16) and shape == (number, package.manifest.job.head.outputs)
        else:
            good = dtype == torch.uint8 and len(shape) == 3 and shape[2] == 3 and 0 not in shape
        if not good or not number:
            raise PackageError(f"{SELFTEST}: {name} is {dtype} {list(shape)}")
    images = tensors.mapped(path)
    tensors.require_finite(SELFTEST, images)  # else infinity would allow any difference
    return images, images.pop("logits").float()


@torch.inference_mode()
def _logits(loaded: Loaded, images: Mapping[str, Tensor], transform: Transform) -> Tensor:
    model, was_training = loaded.model, loaded.model.training
    model.eval()
    try:
        # One by one: the size of a batch changes the order of sums, and so the last bits.
        inputs = [transform(rgb(Image.fromarray(image.numpy())))[None] for image in images.values()]
        outputs: Tensor = concat([loaded.forward(model, one).float() for one in inputs])
        return outputs
    finally:
        model.train(was_training)


def _draw(seed: int, side: int, shares: tuple[float, float]) -> NDArray[np.uint8]:
    """Return an image of waves, edges and grain, of odd height and width."""
    random = np.random.default_rng(seed)
    height, width = (max(1, int(side * share)) | 1 for share in shares)
    y, x = np.mgrid[0:height, 0:width] / side
    layers = []
    for _ in range(3):
        a, b, phase = random.uniform(-9, 9, 3)
        wave = np.sin(a * x + b * y + phase)
        edge = np.where((x * a + y * b) % 1.3 > 0.6, 0.5, -0.5)
        layers.append(127.5 + 70 * wave + 60 * edge + random.normal(0, 12, (height, width)))
    image: NDArray[np.uint8] = np.clip(np.stack(layers, axis=-1), 0, 255).astype(np.uint8)
    return image
