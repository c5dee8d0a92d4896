"""Which images a model was trained on: a package can be asked about a file, and lists none.

It holds a Bloom filter (https://doi.org/10.1145/362686.362692) over the sha256 of the training files' bytes: a file
that was trained on is always known again, of others one in two million is taken for one. A copy with other bytes is
another file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from hubft.errors import PackageError

KEY = "seen"  # beside the fingerprint of the training images
BITS, HASHES = 30, 20  # an image
LEAST, LIMIT = 64, 6 * 2**20  # bytes; the limit is that of 1.6 million images, and half of what a manifest may hold
MAX_HASHES = 64  # in a stranger's


def record(digests: Iterable[str]) -> dict[str, Any]:
    """Return what a manifest says of the training images beside their fingerprint; nothing of more than fit.

    :param digests: sha256 (hex) of each file.
    """
    digests = set(digests)
    size = max(LEAST, -(-BITS * len(digests) // 8))
    if size > LIMIT:
        return {}
    bits = bytearray(size)
    for sha256 in digests:
        for place in _places(sha256, size, HASHES):
            bits[place >> 3] |= 1 << (place & 7)
    return {KEY: {"hashes": HASHES, "bits": base64.urlsafe_b64encode(bits).decode()}}


def count(train: object, digests: Iterable[str]) -> int | None:
    """Return how many of the files were trained on, or None where the package does not know.

    :param train: what a manifest, perhaps a stranger's, says of the training images.
    :param digests: sha256 (hex) of each file.
    :raises PackageError: a filter that is none.
    """
    facts = train.get(KEY) if isinstance(train, Mapping) else None
    if facts is None:
        return None
    hashes, bits = _checked(facts)
    return sum(all(bits[at >> 3] >> (at & 7) & 1 for at in _places(sha256, len(bits), hashes)) for sha256 in digests)


def _checked(facts: object) -> tuple[int, bytes]:
    hashes, text = (facts.get("hashes"), facts.get("bits")) if isinstance(facts, Mapping) else (None, None)
    if type(hashes) is int and 1 <= hashes <= MAX_HASHES and isinstance(text, str) and 1 <= len(text) <= 2 * LIMIT:
        with suppress(ValueError):
            if bits := base64.b64decode(text, b"-_", validate=True):
                return hashes, bits
    raise PackageError(f"the manifest's data.train.{KEY} is no record of the images that were trained on")


def _places(sha256: str, size: int, hashes: int) -> Iterator[int]:
    """Yield the bits of a file, of `size` bytes: two halves of its sha256 are start and step of a walk."""
    start, step = int(sha256[:16], 16), int(sha256[16:32], 16) | 1
    return ((start + i * step) % (8 * size) for i in range(hashes))
