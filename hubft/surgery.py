"""What is changed of a model's layers before it trains, as a user writes it: the grammar of `--surgery`.

    ACTIVATION=ACTIVATION   every activation of a kind becomes one of another: relu=gelu
    batchnorm=frozen        batch norms keep their statistics, scales and shifts for ever
    batchnorm=group:N       batch norms become group norms of N groups, with their scales and shifts
    dropout=P               every dropout before the head drops with this probability
    drop_path=P             residual branches are left out with a chance that grows to P, block by block
    stride=N                the first convolution steps N pixels
    patch=N                 a transformer's patches have N pixels a side, its weights and positions resampled
    channels=N              the first convolution takes N channels, and images are read as they are stored

Changes are joined by commas and made in their order; how many channels there are comes last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hubft.base.errors import JobError, Option, suggest
from hubft.inputs import Inputs
from hubft.pictures import MOST_CHANNELS, SMOOTH, Bands, Images

ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "tanh")
NORM, DROPOUT, DROP_PATH = "batchnorm", "dropout", "drop_path"
STRIDE, PATCH, CHANNELS = "stride", "patch", "channels"
LIMITS = {STRIDE: 8, PATCH: 64, CHANNELS: MOST_CHANNELS}
KINDS = (*ACTIVATIONS, NORM, DROPOUT, DROP_PATH, *LIMITS)
FROZEN, GROUP = "frozen", "group"


@dataclass(frozen=True)
class Change:
    """One change: of what, to what."""

    kind: str
    value: str

    @property
    def number(self) -> float:
        """The probability, or the number: of groups, pixels or channels."""
        return float(self.value.rpartition(":")[2])

    def __str__(self) -> str:
        return f"{self.kind}={self.value}"


def parse(text: str) -> tuple[Change, ...]:
    """Return the changes of a `--surgery` text; none of an empty one.

    :raises JobError: an unknown change, or a value that is missing or of the wrong form.
    """
    changes = [_change(part.strip()) for part in text.split(",")] if text else []
    return tuple(sorted(changes, key=lambda change: change.kind == CHANNELS))


def channels(text: str) -> int:
    """Return how many channels a `--surgery` text asks for; 0 where it does not say.

    :raises JobError: as `parse` does.
    """
    return next((int(change.number) for change in reversed(parse(text)) if change.kind == CHANNELS), 0)


def taken(inputs: Inputs, text: str) -> Inputs:
    """Return what a model takes once its layers are changed: `Bands` of mean 0 and standard deviation 1, where a
    `--surgery` text asks for channels.

    :raises JobError: it does, and the model takes no images in RGB.
    """
    number = channels(text)
    if not number:
        return inputs
    if not isinstance(inputs, Images):
        raise JobError(
            Option("surgery"), f" {CHANNELS}={number}: only a model of images in RGB is changed so; this takes {inputs}"
        )
    way = inputs.interpolation if inputs.interpolation in SMOOTH else "bicubic"
    crop = inputs.crop if inputs.crop != "border" else "squash"
    return Bands(inputs.size, inputs.resize, crop, way, mean=(0.0,) * number, std=(1.0,) * number)


def _change(text: str) -> Change:
    kind, equals, value = text.partition("=")
    if not equals or kind not in KINDS:
        why = f": {text!r} is no change; known are {forms()}.{suggest(kind, KINDS)}"
        raise JobError(Option("surgery"), why)
    if kind in ACTIVATIONS:
        good, wanted = value in ACTIVATIONS and value != kind, f"another one of {', '.join(ACTIVATIONS)}"
    elif kind == NORM:
        good = value == FROZEN or bool(re.fullmatch(rf"{GROUP}:[1-9]\d{{0,4}}", value))
        wanted = "frozen, or group:N with the number of groups"
    elif kind in LIMITS:
        good = bool(re.fullmatch(r"[1-9]\d?", value)) and int(value) <= LIMITS[kind]
        wanted = f"a whole number from 1 to {LIMITS[kind]}"
    else:
        good, wanted = bool(re.fullmatch(r"0|0?\.\d+", value)), "a probability from 0 to under 1"
    if not good:
        raise JobError(Option("surgery"), f" {kind}={value}: {kind} becomes {wanted}")
    return Change(kind, value)


def forms() -> str:
    return (
        "ACTIVATION=ACTIVATION as in relu=gelu, batchnorm=frozen, batchnorm=group:N, dropout=P, drop_path=P, stride=N, "
        "patch=N, channels=N"
    )
