"""Documents that choose among answers: which those are, and each document with another answer in its place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from hubft.data.documents import CHOICES, COMPLETION, MESSAGES, answer

FEW, LONGEST = 10, 100
"""Answers at most that recur in all documents, and characters of each: of more, or longer ones, nothing is chosen."""


def shared(documents: Iterable[str]) -> tuple[str, ...]:
    """Return the answers that all documents have among them, sorted, each more than once; nothing where there are more
    than FEW, one alone, or documents that state their own.

    :param documents: as `hubft.data.documents` states them.
    """
    known = Counter[str]()
    for document in documents:
        stated = json.loads(document)
        said = answer(stated)
        if said is None or CHOICES in stated or len(said) > LONGEST:
            return ()
        known[said] += 1
        if len(known) > FEW:
            return ()
    return tuple(sorted(known)) if len(known) > 1 and min(known.values()) > 1 else ()


def others(document: str, among: tuple[str, ...]) -> list[str]:
    """Return the document with each of the answers that it might have had, too; none where it has no choice.

    :param among: answers of all documents, where it states none of its own.
    """
    stated = json.loads(document)
    own, said = stated.pop(CHOICES, None), answer(stated)
    if said is None or not (own or said in among):
        return []
    if own:  # blanks around the answer stay: they part it from its prompt
        core = said.strip()
        front, _, behind = said.partition(core)
        return [_with(stated, front + one.strip() + behind) for one in own if one.strip() != core]
    return [_with(stated, one) for one in among if one != said]


def _with(stated: dict[str, Any], other: str) -> str:
    if COMPLETION in stated:
        return json.dumps({**stated, COMPLETION: other}, ensure_ascii=False)
    *before, last = stated[MESSAGES]
    return json.dumps({**stated, MESSAGES: [*before, {**last, "content": other}]}, ensure_ascii=False)
