"""How a language model writes, as plain data. Without torch."""

from __future__ import annotations

from dataclasses import dataclass

from hubft.base.bounds import SEEDS, check_bounds
from hubft.base.errors import JobError, Option


@dataclass(frozen=True)
class Writing:
    """How a language model writes."""

    max_tokens: int = 256
    """Tokens at most that are written behind a prompt."""
    temperature: float = 0.0
    """By which logits are divided before a token is drawn; 0 takes the likeliest each time."""
    top_p: float = 1.0
    """Tokens are drawn from the likeliest whose probabilities add up to this."""
    seed: int = 0
    """Of the draws: the same seed writes the same text behind the same prompt."""

    def __post_init__(self) -> None:
        check_bounds("max_tokens", self.max_tokens, 1, 2**20)
        check_bounds("temperature", self.temperature, 0.0, 100.0)
        check_bounds("top_p", self.top_p, 1e-6, 1.0)
        check_bounds("seed", self.seed, *SEEDS)
        for name in ("top_p", "seed"):
            if not self.temperature and getattr(self, name) != getattr(Writing, name):
                raise JobError(Option(name), " draws tokens, which takes a ", Option("temperature"), " above 0")
