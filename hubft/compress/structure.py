"""What changed a model after it was built: plain records, done again by whoever loads the package.

A record is an object with its `kind`, one of KINDS, and what that kind says. Records are anybody's: they are checked,
and what they ask for is bounded by the model that they are done to, before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hubft.base.errors import PackageError, suggest
from hubft.compress import counts, lora, surgery, torchao, widths
from hubft.compress.form import Form
from hubft.hookspecs import Loaded

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """How the records of a kind are checked and done again."""

    check: Callable[[Record], None]
    """Raises PackageError where the record is not of this kind's form; knows no model."""
    words: str
    """What was done, for a card, as the beginning of a sentence."""
    build: Callable[[Loaded, Record], None] = lambda loaded, record: None
    """Changes the architecture, before its weights are filled in."""
    finish: Callable[[Loaded, Record], None] = lambda loaded, record: None
    """Changes how the model computes, after its weights are filled in."""
    lasting: bool = True
    """Whether it still holds of the model once that is trained further."""
    form: Callable[[Record], Form | None] = lambda record: None
    """Gives the form of the file of weights, where it has one of its own."""
    needs: str = ""
    """Distribution that loading takes beside the model's own library."""
    loads: str = (
        ", so its library alone does not load it: torch.hub and hubft, as below, build the library's own class and "
        "change it by the records `structure` of hubft.json, which are plain data."
    )
    """How it is loaded, for a card, behind `words`."""
    facts: Callable[[Record], str] = lambda record: ""
    """How much was done, in words; empty where there is no how much."""


KINDS: Mapping[str, Kind] = {
    widths.KIND: Kind(widths.check, "Channels were taken out of it", widths.give, facts=counts.words),
    surgery.KIND: Kind(surgery.check, "Layers of it were changed before it trained", surgery.give, facts=surgery.words),
    torchao.KIND: Kind(
        torchao.check,
        "Its Linear layers are computed in int8 by torchao",
        finish=torchao.finish,
        lasting=False,
        needs="torchao",
    ),
    lora.KIND: Kind(
        lora.check,
        "LoRA adapts its layers",
        lasting=False,
        form=lora.form,
        loads=". torch.hub and hubft, as below, fold that into the weights: the model is a plain one of its own "
        "library, and peft is not needed.",
        facts=lora.words,
    ),
}


def check(records: Sequence[Record]) -> None:
    """Check records of which nothing is known yet.

    :raises PackageError: a kind that is not known, or a record that is not of its form.
    """
    for record in records:
        kind = record.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            near = suggest(str(kind)[:80], KINDS)
            raise PackageError(
                f"its structure has a record of kind {str(kind)[:80]!r}, not known here: update hubft.{near}"
            )
        KINDS[kind].check(record)


def build(loaded: Loaded, records: Sequence[Record]) -> Loaded:
    """Return the model with its architecture changed, in place, by the records in their order; its weights come later.

    :param records: that passed `check`.
    :raises PackageError: one does not fit the model.
    """
    for record in records:
        KINDS[record["kind"]].build(loaded, record)
    return loaded


def finish(loaded: Loaded, records: Sequence[Record]) -> Loaded:
    """Return the model, its weights filled in, computed as the records have it: changed in place, in their order.

    :param records: that passed `check`.
    :raises PackageError: one does not fit the model, or a library that it needs is not installed.
    """
    for record in records:
        KINDS[record["kind"]].finish(loaded, record)
    return loaded


def plain(model: nn.Module) -> nn.Module:
    """Return the model, in place, as it was before `finish`."""
    return torchao.plain(model)


def state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model in plain tensors, as packages store it, whatever `finish` made of them."""
    return torchao.state(model)


def form(records: Sequence[Record]) -> Form | None:
    """Return the form of the file of weights, where the last of the records gives it one of its own."""
    return KINDS[records[-1]["kind"]].form(records[-1]) if records else None


def lasting(records: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the records that still hold of a model which is trained further."""
    return tuple(record for record in records if KINDS[record["kind"]].lasting)


def words(records: Sequence[Record]) -> list[str]:
    """Return what was done to a model, and how much of it: the beginning of a sentence a kind."""
    facts: dict[str, list[str]] = {}
    for record in records:
        kind = KINDS[record["kind"]]
        facts.setdefault(kind.words, []).append(kind.facts(record))
    return [f"{words} ({'; then '.join(its)})" if any(its) else words for words, its in facts.items()]


def loads(records: Sequence[Record]) -> str:
    """Return how such a model is loaded, behind its `words`."""
    return KINDS[records[-1]["kind"]].loads if records else ""


def needs(records: Sequence[Record]) -> list[str]:
    """Return the distributions that loading such a model takes beside the model's own library."""
    return list(dict.fromkeys(needed for record in records if (needed := KINDS[record["kind"]].needs)))
