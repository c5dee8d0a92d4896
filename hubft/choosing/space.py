"""What a sweep goes through: the grammar of `--over`.

    lr=1e-5..1e-3           every number from one end to the other, whole ones where the option is a whole number
    augment=light,standard  one of these values
    train=head;all,-norms   the same, by semicolons: of values that hold commas, as lists do

The name is that of an option of `hubft finetune`. Where the ends of a range are ten times apart or more, as those of
learning rates are, each tenfold is as likely as another; else each number is. Numbers have three digits, so that the
line of a trial is short and gives the same run. Without torch: what is wrong is told before anything is read.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from hubft import options
from hubft.base.errors import JobError, Option, suggest
from hubft.job import Job

TENFOLD = 10  # between the ends of a range, from which on its logarithm is what is drawn evenly
DIGITS = 3
WORDS = {"yes": True, "true": True, "no": False, "false": False}
PARTS = ("head", "recipe", "adapting", "teaching")  # of a job: they say how a model is made
OWN = ("size", "surgery")  # and so do these of the job's own
EXCEPT = ("budget", "seed", "wise", "teacher", "baseline")
"""But these: `budget` is that of all trials; `seed` and `wise` settle which samples a trial is measured on."""


@dataclass(frozen=True)
class Axis:
    """An option, and what is tried of it: the numbers of a range, or the values of a choice."""

    name: str
    part: str
    """Of a job that has it; empty for its own."""
    low: float = 0.0
    high: float = 0.0
    """Ends of the range; both are whole numbers where the option is one."""
    texts: tuple[str, ...] = ()
    """The values of a choice as they were typed; none for a range."""
    values: tuple[Any, ...] = ()
    """What each of them means."""

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int)

    @property
    def by_tenfold(self) -> bool:
        """Whether the logarithm of a range is drawn evenly."""
        return self.low > 0 and self.high >= TENFOLD * self.low

    @property
    def points(self) -> Sequence[Any] | None:
        """All that can be drawn, in order; None of a range of numbers that are not whole."""
        if self.texts:
            return self.texts
        return range(int(self.low), int(self.high) + 1) if self.whole else None

    def value(self, drawn: Any) -> Any:
        """Return the option's value of what was drawn: a number of the range, or the text of a choice."""
        if self.texts:
            return self.values[self.texts.index(drawn)]
        rounded = drawn if self.whole else float(f"{drawn:.{DIGITS}g}")
        return type(self.low)(min(max(rounded, self.low), self.high))

    def text(self, drawn: Any) -> str:
        """Return what was drawn as it is typed."""
        return str(drawn) if self.texts or self.whole else f"{self.value(drawn):g}"

    def meant(self, text: str) -> Any:
        """Return the option's value of such a text."""
        return self.value(text if self.texts else type(self.low)(text))

    def put(self, job: Job, value: Any) -> Job:
        """Return the job with this value of the option.

        :raises JobError: the option refuses it.
        """
        if not self.part:
            return replace(job, **{self.name: value})
        return replace(job, **{self.part: replace(getattr(job, self.part), **{self.name: value})})

    def plain(self) -> dict[str, Any]:
        """Return it as JSON types."""
        found = {"values": list(self.texts)} if self.texts else {"low": self.low, "high": self.high}
        return found if self.texts else {**found, "by tenfold": self.by_tenfold}


Space = tuple[Axis, ...]


def put(space: Space, job: Job, drawn: Mapping[str, Any]) -> Job:
    """Return the job of a point: what was drawn of each axis, by name."""
    for axis in space:
        job = axis.put(job, axis.value(drawn[axis.name]))
    return job


def parse(texts: Sequence[str], job: Job) -> Space:
    """Return what is gone through.

    :param texts: each NAME=LOW..HIGH or NAME=A,B.
    :param job: that a trial differs from in these options alone.
    :raises JobError: none of them, an option that is unknown or is named twice, a value that it refuses, a range
        that is empty.
    """
    if not texts:
        raise JobError(Option("over"), " says what is tried, as lr=1e-5..1e-3 or augment=light,standard: name one")
    space: Space = ()
    for text in texts:
        axis = _axis(text, job)
        if axis.name in {one.name for one in space}:
            raise JobError(Option("over"), f" names {Option(axis.name).flag[2:]!r} twice: leave one out")
        space = (*space, axis)
    for axis, text in zip(space, texts, strict=True):
        _allowed(space, axis, text, job)
    return space


def _axis(text: str, job: Job) -> Axis:
    name, equals, said = (piece.strip() for piece in text.partition("="))
    name = name.removeprefix("--").replace("-", "_")
    part = _part(name)
    if not equals or not said:
        raise _wrong(text, "must be NAME=LOW..HIGH or NAME=A,B")
    owner = getattr(job, part) if part else job
    (default,) = (field.default for field in fields(owner) if field.name == name)
    if getattr(owner, name) != default:
        raise JobError(Option(name), " is given, and ", Option("over"), " tries others: leave one of them out")
    hint = typing.get_type_hints(type(owner))[name]
    hint = float if hint == float | None else hint
    low, dots, high = said.partition("..")
    if dots:
        return _range(text, name, part, hint, low, high)
    texts = tuple(piece.strip() for piece in said.split(";" if ";" in said else ","))
    values = tuple(_typed(hint, one, text) for one in texts)
    if len(values) < 2:
        raise _wrong(text, "one value is no choice: give all trials ", Option(name), f" {said}")
    if any(value in values[:place] for place, value in enumerate(values)):
        raise _wrong(text, "names a value twice")
    return Axis(name, part, texts=texts, values=values)


def _part(name: str) -> str:
    """Return the part of a job that has an option.

    :raises JobError: there is none of that name, or one that no sweep goes through.
    """
    known = {field: part for field, (part, _) in options.fields()}
    open_ = [one for one, part in known.items() if (part in PARTS or one in OWN) and one not in EXCEPT]
    if name not in known:
        flags = (Option(one).flag[2:] for one in open_)
        raise JobError(Option("over"), f": there is no option {name!r}.{suggest(name.replace('_', '-'), flags)}")
    if name not in open_:
        why = "it is of all trials, or settles what they are measured on: they would not compare"
        raise JobError(Option("over"), " does not go through ", Option(name), f": {why}")
    return known[name]


def _range(text: str, name: str, part: str, hint: Any, low: str, high: str) -> Axis:
    if hint not in (int, float):
        raise _wrong(text, "no range of numbers; name its values by commas")
    ends = tuple(_typed(hint, end.strip(), text) for end in (low, high))
    if not ends[0] < ends[1]:
        raise _wrong(text, "an empty range: write the smaller end first")
    return Axis(name, part, *ends)


def _typed(hint: Any, text: str, whole: str) -> Any:
    """Return a value of a type from how it is typed."""
    try:
        if typing.get_origin(hint) is tuple:
            return tuple(_typed(typing.get_args(hint)[0], one.strip(), whole) for one in text.split(",") if one.strip())
        if hint is bool:
            return WORDS[text.lower()]
        return hint(text) if hint in (int, float) else text
    except (ValueError, KeyError) as error:
        wanted = "yes or no" if hint is bool else "a whole number" if hint is int else "a number"
        raise _wrong(whole, f"{text!r} must be {wanted}") from error


def _allowed(space: Space, axis: Axis, text: str, job: Job) -> None:
    """Refuse a value that its option refuses, alone or beside those of the others, the first of each."""
    for other in space:
        if other is not axis:
            job = other.put(job, other.values[0] if other.texts else other.low)
    for value in axis.values or (axis.low, axis.high):
        try:
            axis.put(job, value).check_together()
        except JobError as error:
            raise JobError(Option("over"), f" {text}: ", *error.args) from error


def _wrong(text: str, *why: str) -> JobError:
    return JobError(Option("over"), f" {text}: ", *why)
