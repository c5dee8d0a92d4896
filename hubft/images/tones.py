"""How bright training images are, beside those that a model was trained on: what was written wrongly looks odd here."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hubft.images.pixels import Views
from hubft.inputs import Images

LOOKED = 32  # training images
ORDINARY = sum(Images.mean) / 3  # of photographs: the mean of ImageNet's training images
FAR, FLAT = 0.4, 0.01
"""Shares of white. Digits on black, 0.13 on average, and X-rays are no further than FAR from photographs; images of 12
bits in files of 16 are. Those that were written in numbers from 0 to 1 vary by less than FLAT."""


def odd(training: Views) -> Iterator[str]:
    """Yield what looks wrong with the pixels of training images, as the evaluation sees them."""
    step = -(-len(training.samples) // LOOKED)
    pixels = torch.stack([training[0, i][0] for i in range(0, len(training.samples), step)]).float() / 255
    stated = sum(training.inputs.mean) / 3 or ORDINARY  # 0 where a model takes pixels as they are
    mean, spread = float(pixels.mean()), float(pixels.std())
    if abs(mean - stated) > FAR or spread < FLAT:
        tone = "are nearly of one colour" if spread < FLAT else "are very dark" if mean < stated else "are very bright"
        yield (
            f"note: the training images {tone}: their pixels have mean {mean:.2g} and standard deviation {spread:.2g} "
            f"of white, and the model was trained on images of mean {stated:.2g}; look at how they were written"
        )
