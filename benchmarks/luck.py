"""What the correction for luck is worth where the truth is known: simulated sweeps.

Twenty trials and a recipe, each right on a sample by a chance of its own; what is hard for one is hard for all. The
best is chosen on the samples; what it gains over the recipe on all samples that there could be is known. Printed: how
far the gain is off before and after the correction (`hubft.choosing.luck`), how often its interval holds the truth, and
how often it says that the gain is more than chance.

    python benchmarks/luck.py
"""

import argparse

import numpy
import torch
from scipy.stats import norm

from hubft.choosing import luck
from hubft.choosing.rows import Outcome
from hubft.tasks.classification import Classification

RIGHT = 0.8  # chance of the recipe
SHARED = 0.5  # of what makes a sample hard, what all trials have in common


def once(random: numpy.random.Generator, trials: int, samples: int, spread: float) -> tuple[luck.Luck, float]:
    """Return what a simulated sweep says, and what its best truly gains."""
    skill = random.normal(RIGHT, spread, trials + 1).clip(0.01, 0.99)
    skill[0] = RIGHT
    hard = SHARED**0.5 * random.normal(size=(samples, 1)) + (1 - SHARED) ** 0.5 * random.normal(
        size=(samples, trials + 1)
    )
    hits = torch.from_numpy(hard < norm.ppf(skill))
    task, targets = Classification(("ants", "bees")), torch.zeros(samples, dtype=torch.int64)
    outcomes = [Outcome(torch.stack([one, ~one], 1).float(), task) for one in hits.T]
    best = int(hits.float().mean(0).argmax())
    return luck.judged(outcomes, targets), float(skill[best] - RIGHT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--trials", type=int, default=20)
    asked = parser.parse_args()
    print("samples  spread of skill  off before  off after  interval holds the truth  told from nothing")
    for samples, spread in ((200, 0.0), (200, 0.02), (1000, 0.02), (60, 0.0)):
        random = numpy.random.default_rng(1)
        found = [once(random, asked.trials, samples, spread) for _ in range(asked.sweeps)]
        before = numpy.mean([its.gain - true for its, true in found])
        after = numpy.mean([its.corrected.value - true for its, true in found])
        holds = numpy.mean([its.corrected.low <= true <= its.corrected.high for its, true in found])
        told = numpy.mean([its.tells for its, _ in found])
        print(f"{samples:7}  {spread:15.2f}  {before:10.4f}  {after:9.4f}  {holds:24.2f}  {told:17.2f}")


if __name__ == "__main__":
    main()
