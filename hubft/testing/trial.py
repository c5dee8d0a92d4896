"""How checks are tried: each at most once, on its own random state, and never on what is known to be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self
from unittest import SkipTest

from hubft.base import draws
from hubft.base.errors import FamilyError, suggest
from hubft.families import build, plugins
from hubft.hookspecs import Declared
from hubft.testing.subject import Subject

Status = Literal["passed", "failed", "expected", "skipped"]
LONGEST = 500  # characters of a reason


@dataclass(frozen=True)
class Outcome:
    """What became of a check."""

    check: str
    """Its name."""
    status: Status
    """`expected`: it failed, and the family says so of itself."""
    reason: str = ""
    """One line; empty where it passed."""


@dataclass(frozen=True)
class Check:
    """A promise that every family keeps, and how it is tried."""

    run: Callable[[Subject], None]
    """Raises AssertionError where the promise is broken, `unittest.SkipTest` where it does not apply."""
    needs: tuple[Check, ...]
    """Checks without which this one could say nothing."""

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def promise(self) -> str:
        """What holds where it passes, in one line."""
        return (self.run.__doc__ or "").partition("\n")[0]


def check(*needs: Check) -> Callable[[Callable[[Subject], None]], Check]:
    """Return a decorator that makes a function the check of its name."""
    return lambda run: Check(run, needs)


class Trial:
    """The checks of one family: tried when asked for, each at most once."""

    def __init__(self, subject: Subject, expected: Mapping[str, str]) -> None:
        self.subject = subject
        self.expected = expected
        """Checks that the family says it fails, with its reasons."""
        self._outcomes: dict[str, Outcome] = {}
        self._broken: set[str] = set()

    @classmethod
    def of(cls, name: str, model: str, checks: Mapping[str, Check]) -> Self:
        """Return the trial of a family's model.

        :raises FamilyError: unknown family; no model to try; an expected failure that is none of `checks`.
        """
        if all(family.name != name for family in plugins.installed()):
            plugins.find(name, typed=True)  # says what is known
        try:
            declared = plugins.declared(plugins.manager(name), name)
        except FamilyError:  # the first check says it, and the others are skipped
            return cls(Subject(name, model, Declared()), {})
        for expected in declared.expected_failures:
            if expected not in checks:
                known = suggest(expected, checks) or f" They are {', '.join(checks)}"
                raise FamilyError(f"family {name!r}: expected_failures names {expected!r}, which is no check.{known}")
        if not (model or declared.example):
            raise FamilyError(
                f"family {name!r} declares no example to check; say `hubft families check {name} --model NAME`, or "
                f'write hubft_family = {{"example": "NAME"}} in its module'
            )
        subject = Subject(name, model or declared.example, declared)
        build.family_of(subject.job(), trust=False, typed=True)  # a package's author may have chosen foreign code
        return cls(subject, declared.expected_failures)

    def demand(self, check: Check) -> None:
        """Try a check, and raise what it raises.

        :raises unittest.SkipTest: it does not apply, or something that it needs is broken.
        """
        for needed in _all_needs(check):
            self.outcome(needed)
            if needed.name in self._broken:
                raise SkipTest(f"needs {needed.name}, which fails")
        with draws.preserved():
            draws.seed("contract", check.name)
            check.run(self.subject)

    def outcome(self, check: Check) -> Outcome:
        """Return what became of a check; it is tried when this is asked for the first time."""
        if check.name not in self._outcomes:
            self._outcomes[check.name] = self._judged(check)
        return self._outcomes[check.name]

    def _judged(self, check: Check) -> Outcome:
        status, reason = self._tried(check)
        if status == "failed":
            self._broken.add(check.name)
        expected = self.expected.get(check.name)
        if expected is None or status == "skipped":
            return Outcome(check.name, status, reason)
        if status == "failed":
            return Outcome(check.name, "expected", _line(expected))
        return Outcome(check.name, "failed", "it passes now: take it out of expected_failures")

    def _tried(self, check: Check) -> tuple[Status, str]:
        try:
            self.demand(check)
        except SkipTest as reason:
            return "skipped", _line(reason)
        except AssertionError as problem:
            return "failed", _line(problem) or "an assertion without words"
        except (Exception, SystemExit) as error:  # hooks are anyone's code, and may fail in any way
            return "failed", _line(f"{type(error).__name__}: {error}")
        return "passed", ""


def _all_needs(check: Check) -> Iterator[Check]:
    for needed in check.needs:
        yield from _all_needs(needed)
        yield needed


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:LONGEST]
