"""Foreign text, such as the name of somebody's folder, made fit to be shown."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Printable by Unicode's book, and yet nothing is seen: joiners, fillers and selectors by which two names look alike.
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
UNUSUAL = re.compile("[^\n -~]")  # in JSON newlines stand between strings only
CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: controls, halves of a character, ends of lines
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")  # what follows is shown in another direction
FORMULA = re.compile(r"[=+\-@]")  # at the beginning of a cell a spreadsheet computes
NUMBER = re.compile(r"[+-]?[0-9.,]+")


def visible(text: str, width: int = 80) -> str:
    """Return a text of printable characters, at most `width` of them: newlines, ANSI and bidi marks as escapes."""
    shown = "".join(c if _seen(c) else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def quoted(name: str) -> str:
    """Return a name in quotes, at most 60 characters of it, control characters as escapes."""
    return repr(name if len(name) <= 60 else name[:59] + "…")


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return `'a', 'b' and 9,998 more`: names in quotes, so many at most."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(quoted, names[:most])) + more


def unprintable(name: str) -> str:
    """Return why a name cannot be that of a class, as what it does; nothing where it can be shown.

    Joiners and selectors inside a name stay: emoji and several scripts are written with them.
    """
    for c in name:
        if unicodedata.category(c) in CONTROLS or TURNING.match(c):
            return f"holds the control character U+{ord(c):04X}"
    return "" if any(_seen(c) and not c.isspace() for c in name) else "has nothing that can be seen"


def csv_line(cells: Sequence[object]) -> str:
    """Return a line of a CSV file, without its end: quoted where need be, numbers and texts as cells of their own.

    A text is printable characters. Where a spreadsheet would compute it, an apostrophe stands before it: the name of
    a class may be a stranger's.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return line.getvalue()


def _cell(text: str) -> str:
    text = visible(text, 10**6)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def readable_json(value: Any) -> str:
    """Return JSON, indented, in which letters of all scripts stand as they are and what is not seen as `\\u` escapes.

    :raises ValueError: a number that is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return UNUSUAL.sub(lambda found: found[0] if _seen(found[0]) else _units(found[0]), text)


def look_alike(names: Iterable[str]) -> str:
    """Return in a phrase how two of the names differ that nobody can tell apart by eye, or nothing if there are none.

    Such are composed and decomposed letters, blanks at an end, blanks of another kind, characters without a width.
    """
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(_appearance(name), name)
        if other != name:
            ours, theirs = _difference(other, name)
            return f"{quoted(other)} and {quoted(name)} look the same: {_codes(ours)} against {_codes(theirs)}"
    return ""


def _appearance(name: str) -> str:
    kept = "".join(" " if c.isspace() else c for c in name if c.isspace() or _seen(c))
    return unicodedata.normalize("NFC", kept.strip())


def _difference(a: str, b: str) -> tuple[str, str]:
    """Return what is between the beginning and the end that two texts have in common."""
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return a, b


def _codes(text: str) -> str:
    shown = " ".join(f"U+{ord(c):04X}" for c in text[:8])
    return f"{shown} …" if len(text) > 8 else shown or "nothing"


def _seen(character: str) -> bool:
    return character.isprintable() and not UNSEEN.match(character)


def _units(character: str) -> str:
    code = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))


def called(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return those of some names that are known ones, whatever their case and the blanks around them."""
    return [name for name in names if name.strip().lower() in known]
