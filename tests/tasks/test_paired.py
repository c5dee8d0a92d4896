"""The difference of two models on the same samples."""

import numpy
import pytest
import torch
from scipy.stats import bootstrap, norm
from torch import Tensor

from hubft.tasks.classification import Classification
from hubft.tasks.paired import chance, difference, holm

TASK = Classification(("a", "b"), counts=(1, 1))


def said(right: numpy.ndarray) -> Tensor:
    """Return outputs that name the first class where they are right."""
    return torch.from_numpy(numpy.stack([right, 1 - right], 1)).float()


def test_it_is_that_of_the_headlines_and_its_interval_that_of_scipy() -> None:
    random = numpy.random.default_rng(3)
    before = (random.random(120) < 0.7).astype(float)
    after = numpy.where(random.random(120) < 0.9, before, 1.0)  # of ten that are wrong, one is right now
    targets = torch.zeros(120, dtype=torch.int64)
    found = difference(TASK, said(after), said(before), targets)
    assert found.value == pytest.approx(after.mean() - before.mean()) and found.value > 0
    theirs = bootstrap((after - before,), numpy.mean, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=0.012)
    back = difference(TASK, said(before), said(after), targets)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -(found.high or 0), -(found.low or 0)))


def test_what_both_models_find_hard_does_not_widen_it() -> None:
    hard, targets = (numpy.arange(100) % 2).astype(float), torch.zeros(100, dtype=torch.int64)
    same = difference(TASK, said(hard), said(hard), targets)
    shuffled = difference(TASK, said(hard), said(hard[::-1].copy()), targets)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert shuffled.value == 0 and (shuffled.high or 0) - (shuffled.low or 0) > 0.3


def test_its_p_value_is_that_of_the_same_resamples() -> None:
    """Of 400 samples 20 are right for one alone and 12 for the other: 8 apart, with a deviation of the root of 32. Zero
    counts as beyond: half a sample of the 8."""
    ours, theirs = (numpy.ones(400) for _ in range(2))
    theirs[:20], ours[20:32] = 0, 0
    targets = torch.zeros(400, dtype=torch.int64)
    found = chance(TASK, said(ours), said(theirs), targets)
    assert found == pytest.approx(2 * norm.sf(7.5 / 32**0.5), abs=0.03)
    assert chance(TASK, said(theirs), said(ours), targets) == pytest.approx(found, abs=0.003)
    assert chance(TASK, said(ours), said(ours), targets) == 1.0
    assert 0 < chance(TASK, said(ours), said(0 * ours), targets) < 0.002


def test_several_comparisons_are_corrected_as_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []
