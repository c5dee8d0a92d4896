"""How shards are named where no path alone leads to them: by a pattern, by a URL, as a data set of the Hub."""

from __future__ import annotations

import os
import re
from itertools import product
from pathlib import Path

from hubft.base import urls
from hubft.base.errors import DataError

SUFFIX = ".tar"
HUB = "hf://datasets/"
WEB = re.compile(r"https?://[^/\s]")
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MAX_SHARDS = 100_000  # of one data set


def named(data: str | Path) -> bool:
    """Tell whether data is named as shards are that no path alone leads to: by a pattern, by a URL, on the Hub."""
    text = str(data)
    if text.startswith(HUB):
        return True
    pattern = bool(BRACES.search(text)) and not urls.there(Path(text))
    return text.endswith(SUFFIX) and (pattern or elsewhere(text))


def elsewhere(data: str) -> bool:
    """Tell whether data is shards that a server has."""
    return data.startswith(HUB) or (data.endswith(SUFFIX) and bool(WEB.match(data)))


def absolute(data: str) -> str:
    """Return a name of shards, which `named` knows, that is the same from any working folder."""
    return data if elsewhere(data) else os.path.abspath(data)  # noqa: PTH100  a pattern, of which Path would follow links


def there(data: str) -> bool:
    """Tell whether the first of the shards is there that `named` knows; a server is not asked."""
    return elsewhere(data) or urls.there(Path(expanded(data)[0]))


def expanded(pattern: str) -> list[str]:
    """Return the names that a pattern stands for: `{000..012}` for numbers, `{train,val}` for words.

    :raises DataError: there are none, or far too many.
    """
    choices: list[list[str]] = []
    count = 1
    for text in BRACES.findall(pattern):
        found = RANGE.fullmatch(text)
        size = int(found[2]) - int(found[1]) + 1 if found else text.count(",") + 1
        count *= max(0, size)
        if not 0 < count <= MAX_SHARDS:
            raise DataError(f"{pattern!r} names {count:,} shards: 1 to {MAX_SHARDS:,} can be read")
        numbers = (str(i).zfill(len(found[1])) for i in range(int(found[1]), int(found[2]) + 1)) if found else ()
        choices.append([*numbers] if found else text.split(","))
    between = BRACES.sub("{}", pattern)
    if between.count("{") != len(choices) or between.count("}") != len(choices):
        raise DataError(f"{pattern!r} is no pattern of shards: write train-{{000000..000012}}.tar")
    return [between.format(*its) for its in product(*choices)]
