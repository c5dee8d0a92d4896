"""What is changed of a model's layers before it trains, as a user writes it: the grammar of `--surgery`.

    ACTIVATION=ACTIVATION   every activation of a kind becomes one of another: relu=gelu
    batchnorm=frozen        batch norms keep their statistics, scales and shifts for ever
    batchnorm=group:N       batch norms become group norms of N groups, with their scales and shifts
    dropout=P               every dropout before the head drops with this probability
    drop_path=P             residual branches are left out with a chance that grows to P, block by block

Changes are joined by commas and made in their order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hubft.base.errors import JobError, Option, suggest

ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "tanh")
NORM, DROPOUT, DROP_PATH = "batchnorm", "dropout", "drop_path"
KINDS = (*ACTIVATIONS, NORM, DROPOUT, DROP_PATH)
FROZEN, GROUP = "frozen", "group"


@dataclass(frozen=True)
class Change:
    """One change: of what, to what."""

    kind: str
    value: str

    @property
    def number(self) -> float:
        """The probability, or the number of groups."""
        return float(self.value.rpartition(":")[2])

    def __str__(self) -> str:
        return f"{self.kind}={self.value}"


def parse(text: str) -> tuple[Change, ...]:
    """Return the changes of a `--surgery` text; none of an empty one.

    :raises JobError: an unknown change, or a value that is missing or of the wrong form.
    """
    return tuple(_change(part.strip()) for part in text.split(",")) if text else ()


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
    else:
        good, wanted = bool(re.fullmatch(r"0|0?\.\d+", value)), "a probability from 0 to under 1"
    if not good:
        raise JobError(Option("surgery"), f" {kind}={value}: {kind} becomes {wanted}")
    return Change(kind, value)


def forms() -> str:
    return "ACTIVATION=ACTIVATION as in relu=gelu, batchnorm=frozen, batchnorm=group:N, dropout=P, drop_path=P"
