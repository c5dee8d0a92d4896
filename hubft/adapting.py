"""What is trained beside the weights of the base, instead of them: the part of a job that says so."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from hubft import rules
from hubft.base.bounds import check_bounds
from hubft.base.errors import JobError, Option
from hubft.base.serialize import settle

NONE = "none"
FASTER = 10.0
"""What LoRA learns best at is about ten times the rate of full fine-tuning, whatever the rank (Schulman et al. 2025,
https://thinkingmachines.ai/blog/lora/)."""
HIGHEST = 4096
"""Rank at the most: no layer in use has a smaller side that is longer."""


@dataclass(frozen=True)
class Adapting:
    """What trains beside the weights of the base, which then stay as they are."""

    adapter: Literal["none", "lora"] = "none"
    """lora: two small matrices train beside each layer, and a new head in full; the package holds these alone, over
    its base. Needs hubft[peft]."""
    rank: int = 8
    """The smaller side of these matrices."""
    alpha: int = 0
    """What the two give is multiplied by it and divided by the rank; 0 is twice the rank."""
    adapter_layers: str = "all"
    """Which layers, by commas: all, last:N, a stage's name, type:CLASS, match:REGEX; - to leave out."""
    rslora: bool = False
    """Divide by the square root of the rank, which keeps high ranks learning (rsLoRA)."""
    dora: bool = False
    """Train the length of each row of a weight apart from its direction (DoRA); slower."""
    quantize_base: Literal["none", "int8", "nf4"] = "none"
    """Keep the Linear layers of the base in 8 or 4 bits while adapters train over them (QLoRA), for less memory. Needs
    hubft[bitsandbytes]."""
    merge: bool = False
    """Fold the adapter into the weights: the package is one of a plain model."""

    def __post_init__(self) -> None:
        settle(self)
        check_bounds("rank", self.rank, 1, HIGHEST)
        check_bounds("alpha", self.alpha, 0, 2**20)
        for rule in rules.parse(self.adapter_layers, "adapter_layers"):
            if rule.kind in ("head", "norms") or rule.start:
                why = "a new head trains in full, norms have no matrix, and an adapter trains from the start on"
                raise JobError(
                    Option("adapter_layers"), f" {self.adapter_layers!r}: {why}: leave head, norms and @ out"
                )

    def check_alone(self) -> None:
        """Refuse what says how an adapter is made where none is asked for.

        :raises JobError: an option is not at its default.
        """
        asked = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        if self.adapter == NONE and asked:
            cure = " says how an adapter is made: write ", Option("adapter"), " lora, or leave it out"
            raise JobError(Option(asked[0]), *cure)

    @property
    def on(self) -> bool:
        """Whether there is an adapter."""
        return self.adapter != NONE

    @property
    def apart(self) -> bool:
        """Whether the adapter is packaged alone, over its base."""
        return self.on and not self.merge

    @property
    def quantized(self) -> bool:
        """Whether the base is in few bits while it trains."""
        return self.quantize_base != NONE

    @property
    def scale(self) -> int:
        """What is divided by the rank."""
        return self.alpha or 2 * self.rank
