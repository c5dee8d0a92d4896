"""What lies beside a model's weights about its tokenizer, as transformers writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubft.base.errors import FamilyError
from hubft.inputs import Text

FACTS = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
FILES = (*Text.FILES.values(), FACTS, TEMPLATE)
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
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
    end: int | None = None
    """Number of the token that ends a text, if it names one."""
    template: str = ""
    """Jinja of its chat template."""
    special: Mapping[str, str] = field(default_factory=dict)
    """Text of its special tokens, by what they are for."""
    size: int = 0
    """One more than the largest number of a token."""


def of(folder: Path, whose: str) -> Carried:
    """Return the tokenizer of a folder.

    :param whose: the folder is, in messages.
    :raises FamilyError: it has none in the format of the library `tokenizers`, or one that is damaged.
    """
    path = folder / Text.FILES["tokenizer"]
    try:
        text = path.read_text(encoding="utf-8")
        made, facts = json.loads(text), _facts(folder / FACTS)
        special, known = _special(facts), _known(made)
        number, template = _padding(made, known, special.get("pad_token")), _template(folder / TEMPLATE, facts)
    except FileNotFoundError as error:
        cure = "save it with `AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)`"
        raise FamilyError(f"{whose} has no {path.name}: {cure}") from error
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise FamilyError(f"{whose}: its tokenizer is damaged: {error}") from error
    most: Any = facts.get("model_max_length")
    limited = isinstance(most, int | float) and 0 < most < UNLIMITED
    most = int(most) if limited else UNLIMITED
    end = known.get(special.get("eos_token"))
    return Carried(text, most, number, end, template, special, 1 + max(known.values(), default=-1))


def _facts(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _special(facts: dict[str, Any]) -> dict[str, str]:
    """Return the texts of the special tokens that the facts name."""
    named = {name: one.get("content") if isinstance(one := facts.get(name), dict) else one for name in SPECIAL}
    return {name: one for name, one in named.items() if isinstance(one, str)}


def _template(path: Path, facts: dict[str, Any]) -> str:
    """Return the chat template: of the file, else of the facts; of several there the one that is called default."""
    if path.is_file():
        return path.read_text(encoding="utf-8")
    stated = facts.get("chat_template")
    if isinstance(stated, list):
        stated = next((one["template"] for one in stated if one.get("name") == "default"), None)
    return stated if isinstance(stated, str) else ""


def _padding(made: dict[str, Any], known: Mapping[Any, int], token: str | None) -> int | None:
    """Return the number of the token that fills up: as the tokenizer does it, else as the facts name it."""
    return int(made["padding"]["pad_id"]) if made.get("padding") else known.get(token)


def _known(made: dict[str, Any]) -> dict[Any, int]:
    """Return the numbers of all tokens."""
    return {one["content"]: one["id"] for one in made.get("added_tokens") or ()} | _vocabulary(made)


def _vocabulary(made: dict[str, Any]) -> dict[str, int]:
    found = made["model"].get("vocab")  # of Unigram a list of (token, score)
    return found if isinstance(found, dict) else {token: i for i, (token, _) in enumerate(found or ())}
