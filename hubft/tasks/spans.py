"""Spans of words that tags state: IOB2 (B-PER I-PER O), with E-, S-, L- and U- of its kin; or each word by itself."""

from __future__ import annotations

from collections.abc import Sequence

OUTSIDE = "O"
BEGINS, ENDS = "BSU", "ESLU"  # prefixes of a first word, and of a last one
INSIDE = "IEL"

Span = tuple[str, int, int]
"""Label, first word and the one behind the last."""


def are(tags: Sequence[str]) -> bool:
    """Tell whether tags state spans: each is O or has a prefix, and one at least has that of a first word."""
    prefixes = {tag[:1] for tag in tags if tag[1:2] == "-" and len(tag) > 2 and tag[0] in BEGINS + INSIDE}
    plain = [tag for tag in tags if tag[1:2] != "-" or len(tag) < 3 or tag[0] not in BEGINS + INSIDE]
    return bool(prefixes & {*BEGINS}) and set(plain) <= {OUTSIDE}


def label(tag: str) -> str:
    """Return what a tag that states a span says of it."""
    return tag[2:]


def of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of a sentence, by the rules of conlleval, which seqeval has by default: a tag of another label,
    or one behind an end, begins a span whatever its prefix is.

    https://aclanthology.org/W00-0726 (section 3); https://github.com/chakki-works/seqeval
    """
    found: list[Span] = []
    first, current = 0, ""
    for place, tag in enumerate((*tags, OUTSIDE)):
        if current and not (tag != OUTSIDE and tag[0] in INSIDE and label(tag) == current):
            found.append((current, first, place))
            current = ""
        if tag != OUTSIDE and not current:
            first, current = place, label(tag)
        if current and tag[0] in ENDS:
            found.append((current, first, place + 1))
            current = ""
    return found


def single(tags: Sequence[str]) -> list[Span]:
    """Return each word of a sentence by itself, but those outside."""
    return [(tag, place, place + 1) for place, tag in enumerate(tags) if tag != OUTSIDE]
