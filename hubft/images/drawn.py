"""Images that are drawn: a package must not carry anybody's pictures away."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hubft.inputs import Framed, Images

DEVIATION = 60.0  # of the values that are drawn, about
SHAPES = ((1.1, 1.2), (0.25, 0.36), (0.4, 0.19))
"""Height and width as shares of the resize: one that is made smaller (antialiasing shows), two made larger."""


def examples(inputs: Images) -> dict[str, Tensor]:
    """Return `image.0`, `image.1`, ...: uint8 `[height, width, 3]`, RGB."""
    drawn = (_draw(i, inputs, shares, 127.5) for i, shares in enumerate(SHAPES))
    return {f"image.{i}": torch.from_numpy(np.clip(one, 0, 255).astype(np.uint8)) for i, one in enumerate(drawn)}


def of_bands(inputs: Framed) -> dict[str, Tensor]:
    """Return the same in any number of channels and in their units: float32 `[height, width, channels]`."""
    drawn = (_draw(i, inputs, shares, 0.0) / DEVIATION for i, shares in enumerate(SHAPES))
    scaled = (one * np.array(inputs.std) + np.array(inputs.mean) for one in drawn)
    return {f"image.{i}": torch.from_numpy(one.astype(np.float32)) for i, one in enumerate(scaled)}


def _draw(seed: int, inputs: Framed, shares: tuple[float, float], middle: float) -> NDArray[np.float64]:
    """Return an image of waves, edges and grain around a value, of odd height and width."""
    side = inputs.resize if isinstance(inputs.resize, int) else min(inputs.resize)
    random = np.random.default_rng(seed)
    height, width = (max(1, int(side * share)) | 1 for share in shares)
    y, x = np.mgrid[0:height, 0:width] / side
    layers = []
    for _ in range(inputs.shape[0]):
        a, b, phase = random.uniform(-9, 9, 3)
        wave = np.sin(a * x + b * y + phase)
        edge = np.where((x * a + y * b) % 1.3 > 0.6, 0.5, -0.5)
        layers.append(middle + 70 * wave + 60 * edge + random.normal(0, 12, (height, width)))
    return np.stack(layers, axis=-1)
