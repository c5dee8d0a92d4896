"""Random draws by counter: every draw is a function of what it is for, never of what was drawn before.

A sample's draws depend on (seed, epoch, sample), a step's on (seed, step). So the number of workers does
not matter, and a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch

from hubft.base.keys import key


def generator(*purpose: str | int) -> torch.Generator:
    """Return a generator of its own for a purpose."""
    return torch.Generator().manual_seed(key(*purpose))


def seed(*purpose: str | int) -> None:
    """Seed the global generators of torch, its accelerators, Python and NumPy for a purpose."""
    bits = key(*purpose)
    torch.default_generator.manual_seed(bits)  # a hundred times cheaper than torch.manual_seed
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(bits)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(bits)
    random.seed(bits)
    numpy.random.seed(bits & 0xFFFFFFFF)


@contextmanager
def preserved() -> Iterator[None]:
    """Give the caller its global generators back as they were."""
    python, arrays = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    numpy.random.set_state(arrays)
