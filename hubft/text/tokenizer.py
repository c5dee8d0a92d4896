"""What lies beside a model's weights about its tokenizer, as transformers writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubft.base.errors import FamilyError
from hubft.inputs import Text

FACTS = "tokenizer_config.json"
FILES = (*Text.FILES.values(), FACTS)
UNLIMITED = 10**6  # tokens: a tokenizer that has no limit states more


@dataclass(frozen=True)
class Carried:
    """A tokenizer, and what is said of it."""

    text: str
    """Of its tokenizer.json."""
    most: int
    """Tokens that a model made for it takes at most."""
    padding: int | None
    """Number of the token that fills up, if it has one."""


def of(folder: Path, whose: str) -> Carried:
    """Return the tokenizer of a folder.

    :param whose: the folder is, in messages.
    :raises FamilyError: it has none in the format of the library `tokenizers`, or one that is damaged.
    """
    path = folder / Text.FILES["tokenizer"]
    try:
        text = path.read_text(encoding="utf-8")
        made, facts = json.loads(text), _facts(folder / FACTS)
        padding = facts.get("pad_token")
        padding = padding.get("content") if isinstance(padding, dict) else padding
        number = _padding(made, padding)
    except FileNotFoundError as error:
        cure = "save it with `AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)`"
        raise FamilyError(f"{whose} has no {path.name}: {cure}") from error
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise FamilyError(f"{whose}: its tokenizer is damaged: {error}") from error
    most: Any = facts.get("model_max_length")
    limited = isinstance(most, int | float) and 0 < most < UNLIMITED
    return Carried(text, int(most) if limited else UNLIMITED, number)


def _facts(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _padding(made: dict[str, Any], token: Any) -> int | None:
    """Return the number of the token that fills up: as the tokenizer does it, else as the facts name it."""
    if made.get("padding"):
        return int(made["padding"]["pad_id"])
    known = {one["content"]: one["id"] for one in made.get("added_tokens") or ()} | _vocabulary(made)
    return known.get(token)


def _vocabulary(made: dict[str, Any]) -> dict[str, int]:
    found = made["model"].get("vocab")  # of Unigram a list of (token, score)
    return found if isinstance(found, dict) else {token: i for i, (token, _) in enumerate(found or ())}
