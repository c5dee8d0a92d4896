"""Sentences with tags, made at test time: each word tells its own."""

import json
import random
from pathlib import Path

from texts import NOUNS, WORDS

TAGS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


def rows(number: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Return so many (words, tags): good words are a person, bad ones a place, of one or two; nouns are neither."""
    draw = random.Random(seed)
    found = []
    for _ in range(number):
        words, tags = [], []
        for _ in range(draw.randint(1, 4)):
            label, kind = draw.choice((("PER", "good"), ("LOC", "bad"), ("", "")))
            if label:
                span = [draw.choice(WORDS[kind][:2]), draw.choice(WORDS[kind][2:])][: draw.randint(1, 2)]
                words += span
                tags += [f"B-{label}", f"I-{label}"][: len(span)]
            words.append(draw.choice(("the", *NOUNS)))
            tags.append("O")
        found.append((words, tags))
    return found


def table(path: Path, number: int = 80, more: tuple[tuple[object, object], ...] = (), seed: int = 0) -> Path:
    """Return a new file of sentences in JSON lines, columns `tokens` and `tags`."""
    its = [*rows(number, seed), *more]
    path.write_text("".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in its))
    return path
