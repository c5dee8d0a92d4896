"""Inputs of one model as another takes them: the same pixels, at its size, normalised its way."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hubft.base.errors import JobError, Option
from hubft.inputs import Framed


class Conversion:
    """Makes of inputs float32 `[b, channels, height, width]` of one model those of another, on their device.

    What was cropped, augmented or mixed stays so: both models see the same part of each picture. Where they are
    alike, the inputs themselves are given back, bit for bit.
    """

    def __init__(self, given: Framed, wanted: Framed) -> None:
        """:raises JobError: the two take pictures of other proportions, so that one would see them distorted, or of
        other channels."""
        if (given.kind, given.shape[0]) != (wanted.kind, wanted.shape[0]):
            raise JobError(f"the teacher takes {wanted}, and the student {given}: take another teacher")
        if given.size[0] * wanted.size[1] != given.size[1] * wanted.size[0]:
            raise JobError(
                f"the teacher takes {wanted}, and the student {given}: these are other proportions, and one of them "
                "would see the pictures distorted; give ",
                Option("size"),
                " of the student, or take another teacher",
            )
        self.given, self.wanted = given, wanted
        self.resized = given.size != wanted.size
        same = (given.mean, given.std, given.flipped) == (wanted.mean, wanted.std, wanted.flipped)
        self.alike = same and not self.resized

    def __call__(self, inputs: Tensor) -> Tensor:
        if self.alike:
            return inputs

        def constant(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=inputs.device).view(-1, 1, 1)

        shares = inputs * constant(self.given.std) + constant(self.given.mean)
        if self.given.flipped != self.wanted.flipped:
            shares = shares.flip(1)
        if self.resized:
            shares = functional.interpolate(shares, self.wanted.size, mode="bilinear", antialias=True)
        return (shares - constant(self.wanted.mean)) / constant(self.wanted.std)
