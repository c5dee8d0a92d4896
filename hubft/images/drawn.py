"""Images that are drawn: a package must not carry anybody's pictures away."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hubft.inputs import Images

SHAPES = ((1.1, 1.2), (0.25, 0.36), (0.4, 0.19))
"""Height and width as shares of the resize: one that is made smaller (antialiasing shows), two made larger."""


def examples(inputs: Images) -> dict[str, Tensor]:
    """Return `image.0`, `image.1`, ...: uint8 `[height, width, 3]`, RGB."""
    resize = inputs.resize
    side = resize if isinstance(resize, int) else min(resize)
    return {f"image.{i}": torch.from_numpy(_draw(i, side, shares)) for i, shares in enumerate(SHAPES)}


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
