"""The contract of a model family, as named checks: for its author's tests, and for whoever wants to know.

    from hubft.testing import check_family, parametrize_with_checks

    @parametrize_with_checks("mine")  # a test for each check
    def test_contract(check):
        check()

    check_family("mine")  # the same as a plain call, a list of outcomes

What is tried follows from what the family declares of itself (`hubft.hookspecs.Declared`): the model named `example`,
its pretrained weights where `weights` says that they can be had, its own `methods`. A check that must fail is named
in `expected_failures`, with the reason. One that builds on a check that fails is skipped: it could only say it again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hubft.testing import announced, compression, copies, freezing, heads, loading, packages, structure, training
from hubft.testing.trial import Check, Outcome, Trial

if TYPE_CHECKING:
    import pytest

__all__ = ["CHECKS", "Check", "Outcome", "Trial", "check_family", "parametrize_with_checks"]

THEMES = (announced, loading, structure, heads, freezing, training, compression, packages, copies)
CHECKS: dict[str, Check] = {check.name: check for theme in THEMES for check in theme.CHECKS}
"""Every check by its name, in the order in which they are tried."""


def check_family(name: str, model: str = "") -> list[Outcome]:
    """Return the outcome of every check, in order; a check that fails stops nothing.

    :param model: a name that the family's `load` knows; empty takes the example that it declares.
    :raises FamilyError: unknown family; no model to try; an expected failure that names no check.
    """
    trial = Trial.of(name, model, CHECKS)
    return [trial.outcome(check) for check in CHECKS.values()]


def parametrize_with_checks(name: str, model: str = "") -> pytest.MarkDecorator:
    """Return a decorator by which pytest calls a test once a check, given as `check`: the test calls it.

    Expected failures are marked as such, with their reasons; one that passes fails its test.

    :param model: as in `check_family`, which has the same errors; here they end the collection of the tests.
    """
    import pytest

    trial = Trial.of(name, model, CHECKS)
    cases = []
    for check in CHECKS.values():
        reason = trial.expected.get(check.name)
        marks = [] if reason is None else [pytest.mark.xfail(strict=True, reason=reason)]
        cases.append(pytest.param(partial(trial.demand, check), id=check.name, marks=marks))
    return pytest.mark.parametrize("check", cases)
