"""What trains, as a user writes it: the grammar of `--train`.

    all                     every parameter
    head                    the head only
    last:N                  the last N stages before the head
    NAME, stage:NAME        one stage by its name (`hubft show REFERENCE` lists them)
    type:CLASS              every layer of a class: type:BatchNorm2d
    match:REGEX             every parameter whose name the pattern finds: match:(bias|norm)
    norms                   every norm with running statistics (batch norm)

Rules are joined by commas, and each may start late: `head, last:1@0.5` trains the head alone for half of
the run, then the last stage with it; `head, layer4@0.5, layer3@0.75` names the stages that thaw. A rule with
a minus holds its parameters frozen, whatever the others say: `all, -norms`. The head always trains: it is new.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hubft.base.errors import JobError, Option, suggest

KINDS = ("all", "head", "last", "stage", "type", "match", "norms")
WITHOUT_VALUE = ("all", "head", "norms")


@dataclass(frozen=True)
class Rule:
    kind: str
    value: str = ""
    start: float = 0.0
    minus: bool = False


def parse(text: str, option: str = "train") -> tuple[Rule, ...]:
    """Return the rules of a `--train` text, or of that of another option with this grammar.

    :raises JobError: an unknown rule, a value that is missing or of the wrong form.
    """
    return tuple(_rule(part.strip(), Option(option)) for part in text.split(","))


def _rule(text: str, option: Option) -> Rule:
    body, at, start = text.removeprefix("-").rpartition("@")
    body, start = (body, start) if at else (start, "0")
    kind, colon, value = body.partition(":")
    if not colon and kind not in KINDS and re.fullmatch(r"\w[\w.-]*", kind):
        kind, value = "name", kind  # whether the model has such a stage is for `trainable` to say
    elif kind not in KINDS or (bool(value) == (kind in WITHOUT_VALUE)) or (colon and not value):
        raise JobError(option, f": {text!r} is no rule; known are {forms()}.{suggest(kind, KINDS)}")
    try:
        rule = Rule(kind, value, float(start), minus=text.startswith("-"))
        good = 0 <= rule.start < 1 and (kind != "last" or int(value) >= 1)
        re.compile(value if kind == "match" else "")
    except re.error as error:
        raise JobError(option, f": {text!r} is no regular expression: {error}") from error
    except ValueError:
        good = False
    if not good:
        raise JobError(option, f": {text!r}: last:N needs N >= 1, and @START a number in [0, 1)")
    return rule


def forms() -> str:
    """Return the kinds of rules, as a user writes them."""
    return ", ".join(k if k in WITHOUT_VALUE else f"{k}:VALUE" for k in KINDS) + ", each with - or not"
