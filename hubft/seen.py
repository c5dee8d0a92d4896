"""Which images a model was trained on: a package can be asked about a file, and lists none.

It holds a Bloom filter (https://doi.org/10.1145/362686.362692) over the sha256 of the training files' bytes: a file
that was trained on is always known again, of others one in two million is taken for one. A copy with other bytes is
another file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy
from numpy.typing import NDArray

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
    bits = numpy.zeros(8 * size, bool)
    bits[_places(digests, 8 * size, HASHES)] = True
    return {KEY: {"hashes": HASHES, "bits": base64.urlsafe_b64encode(numpy.packbits(bits).tobytes()).decode()}}


def count(train: object, digests: Iterable[str]) -> int | None:
    """Return how many of the files were trained on, or None where the package does not know.

    :param train: what a manifest, perhaps a stranger's, says of the training images.
    :param digests: sha256 (hex) of each file.
    :raises PackageError: a filter that is none.
    """
    facts = train.get(KEY) if isinstance(train, Mapping) else None
    if facts is None:
        return None
    hashes, stored = _checked(facts)
    bits = numpy.unpackbits(numpy.frombuffer(stored, numpy.uint8))
    return int(bits[_places(digests, len(bits), hashes)].all(1).sum())


def _checked(facts: object) -> tuple[int, bytes]:
    hashes, text = (facts.get("hashes"), facts.get("bits")) if isinstance(facts, Mapping) else (None, None)
    if type(hashes) is int and 1 <= hashes <= MAX_HASHES and isinstance(text, str) and 1 <= len(text) <= 2 * LIMIT:
        with suppress(ValueError):
            if bits := base64.b64decode(text, b"-_", validate=True):
                return hashes, bits
    raise PackageError(f"the manifest's data.train.{KEY} is no record of the images that were trained on")


def _places(digests: Iterable[str], bits: int, hashes: int) -> NDArray[numpy.uint32]:
    """Return `[files, hashes]`, the bits of each file: each drawn, for steps of a walk repeat where there are few."""
    draws = b"".join(hashlib.shake_128(sha256.encode()).digest(4 * hashes) for sha256 in digests)
    return numpy.frombuffer(draws, "<u4").reshape(-1, hashes) % numpy.uint32(bits)
