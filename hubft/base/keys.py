"""The counter behind every random draw and the split of data; without torch, before which data is refused."""

from __future__ import annotations

import hashlib


def key(*purpose: str | int) -> int:
    """Return 63 well-mixed bits for a purpose, such as `("sample", seed, epoch, index)`."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
