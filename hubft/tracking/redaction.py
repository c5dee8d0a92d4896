"""What a library says of its trouble, fit to be shown: in one line, and without keys."""

from __future__ import annotations

import os
import re

from hubft.base.errors import reason

SECRET = re.compile("KEY|TOKEN|PASSW|SECRET|CREDENTIAL", re.IGNORECASE)
SHORTEST = 6  # characters of what may be a key: shorter ones are words
HIDDEN = "***"


def redacted(text: str) -> str:
    """Return a text without what may be a key: the values of environment variables that are called so, and in an
    address what stands before its host, or behind `token=` and the like."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    text = re.sub(r"(?<=://)[^/@\s]+(?=@)", HIDDEN, text)
    return re.sub(rf"([?&][\w-]*(?:{SECRET.pattern})[\w-]*=)[^&\s'\")]+", rf"\1{HIDDEN}", text, flags=re.IGNORECASE)


def line(error: BaseException) -> str:
    """Return an error as one line of 200 characters at most, redacted."""
    return redacted(reason(error))[:200]
