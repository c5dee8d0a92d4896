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

from hubft.base.errors import PackageError

KEY = "seen"  # beside the fingerprint of the training images
BEFORE = "seen_before"  # beside it: the same of the packages that a run started from, the nearest first
BITS, HASHES = 30, 20  # an image
LEAST, LIMIT = 64, 6 * 2**20  # bytes; the limit is that of 1.6 million images, and half of what a manifest may hold
MAX_HASHES, MAX_BEFORE = 64, 64  # in a stranger's


def record(digests: Iterable[str], below: object = None) -> dict[str, Any]:
    """Return what a manifest says of the training images beside their fingerprint; nothing of more than fit.

    :param digests: sha256 (hex) of each file.
    :param below: what the manifest of the package that training started from says of its own, if there is one. Where
        that does not know its images, this one does not know all of its own.
    """
    digests = set(digests)
    before = _filters(below) if below is not None else []
    size = max(LEAST, -(-BITS * len(digests) // 8))
    kept = sum(len(bits) for _, bits in before or [])
    if before is None or size + kept > LIMIT or len(before) > MAX_BEFORE:
        return {}
    bits = numpy.zeros(8 * size, bool)
    bits[_places(digests, 8 * size, HASHES)] = True
    own = {KEY: _written(HASHES, numpy.packbits(bits).tobytes())}
    return own | ({BEFORE: [_written(*one) for one in before]} if before else {})


def _written(hashes: int, bits: bytes) -> dict[str, Any]:
    return {"hashes": hashes, "bits": base64.urlsafe_b64encode(bits).decode()}


def count(train: object, digests: Iterable[str]) -> int | None:
    """Return how many of the files were trained on, or None where the package does not know.

    :param train: what a manifest, perhaps a stranger's, says of the training images.
    :param digests: sha256 (hex) of each file.
    :raises PackageError: a filter that is none.
    """
    filters = _filters(train)
    if filters is None:
        return None
    digests = list(digests)
    known = numpy.zeros(len(digests), bool)
    for hashes, stored in filters:
        bits = numpy.unpackbits(numpy.frombuffer(stored, numpy.uint8))
        known |= bits[_places(digests, len(bits), hashes)].all(1)
    return int(known.sum())


def _filters(train: object) -> list[tuple[int, bytes]] | None:
    """Return the filters that a manifest holds: of its own images, then of those before; None where it has none."""
    facts = train.get(KEY) if isinstance(train, Mapping) else None
    if facts is None or not isinstance(train, Mapping):
        return None
    before = train.get(BEFORE, [])
    if not isinstance(before, list) or len(before) > MAX_BEFORE:
        raise PackageError(f"the manifest's data.train.{BEFORE} is no list of {MAX_BEFORE} records at most")
    return [_checked(one) for one in (facts, *before)]


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
