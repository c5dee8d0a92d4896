"""Foreign text, such as the name of somebody's folder, made fit to be shown."""

import json
import re
from typing import Any

# Printable by Unicode's book, and yet nothing is seen: joiners, fillers and selectors by which two names look alike.
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
UNUSUAL = re.compile("[^\n -~]")  # in JSON newlines stand between strings only


def visible(text: str, width: int = 80) -> str:
    """Return a text of printable characters, at most `width` of them: newlines, ANSI and bidi marks as escapes."""
    shown = "".join(c if _seen(c) else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def readable_json(value: Any) -> str:
    """Return JSON, indented, in which letters of all scripts stand as they are and what is not seen as `\\u` escapes.

    :raises ValueError: a number that is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return UNUSUAL.sub(lambda found: found[0] if _seen(found[0]) else _units(found[0]), text)


def _seen(character: str) -> bool:
    return character.isprintable() and not UNSEEN.match(character)


def _units(character: str) -> str:
    code = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))
