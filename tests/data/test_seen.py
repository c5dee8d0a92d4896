"""The record of the images that were trained on: always right on these, and nearly always on others."""

import hashlib
from typing import Any

import pytest

from hubft.base.errors import PackageError
from hubft.data import seen


def digests(first: int, number: int) -> list[str]:
    return [hashlib.sha256(f"{i}".encode()).hexdigest() for i in range(first, first + number)]


@pytest.mark.parametrize("number", [1, 7, 1000, 20_000])
def test_what_was_trained_on_is_known_again_and_others_are_not(number: int) -> None:
    record = seen.record(digests(0, number))
    assert seen.count(record, digests(0, number)) == number
    assert seen.count(record, digests(number, 20_000)) == 0
    assert seen.count(record, digests(0, 1) * 3) == 3, "images are counted, not files"


def test_what_packages_below_were_trained_on_is_known_too() -> None:
    first = seen.record(digests(0, 10))
    second = seen.record(digests(100, 300), first)
    third = seen.record(digests(500, 10), second)
    assert [seen.count(record, digests(0, 600)) for record in (first, second, third)] == [10, 310, 320]
    assert seen.record(digests(0, 1), {}) == {}, "what is below and does not know leaves it open"


def test_too_many_records_are_refused() -> None:
    first = seen.record(digests(0, 3))
    with pytest.raises(PackageError, match="seen_before is no list of 64 records"):
        seen.count({**first, "seen_before": 65 * [first["seen"]]}, digests(0, 3))


def test_it_depends_on_the_files_alone_and_is_small() -> None:
    known = digests(0, 1000)
    record = seen.record(known)
    assert record == seen.record(reversed(known)) == seen.record([*known, *known])
    assert len(record["seen"]["bits"]) == 4 * (30 * 1000 // 8) / 3


def test_more_than_a_manifest_holds_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "LIMIT", 100)
    assert seen.record(digests(0, 26)) and not seen.record(digests(0, 27))


@pytest.mark.parametrize("train", [None, {}, {"samples": 3}, [], "x", {"seen": None}])
def test_a_package_that_does_not_say_is_not_asked(train: object) -> None:
    assert seen.count(train, digests(0, 3)) is None


@pytest.mark.parametrize(
    "facts",
    [
        {},
        [],
        "x",
        7,
        {"hashes": 20},
        {"bits": "AAAA"},
        {"hashes": 0, "bits": "AAAA"},
        {"hashes": 65, "bits": "AAAA"},
        {"hashes": 10**9, "bits": "AAAA"},
        {"hashes": True, "bits": "AAAA"},
        {"hashes": 20.0, "bits": "AAAA"},
        {"hashes": 20, "bits": ""},
        {"hashes": 20, "bits": "A"},
        {"hashes": 20, "bits": "A A="},
        {"hashes": 20, "bits": "===="},
        {"hashes": 20, "bits": "ä" * 4},
        {"hashes": 20, "bits": ["AAAA"]},
        {"hashes": 20, "bits": "A" * (2 * seen.LIMIT + 4)},
    ],
)
def test_a_stranger_s_record_that_is_none_is_refused(facts: Any) -> None:
    with pytest.raises(PackageError, match="no record of the images"):
        seen.count({"seen": facts}, digests(0, 3))


def test_what_older_hubft_would_know_again_is_pinned() -> None:
    bits = "ACAAAeACAAAAAAAgABAAAABAAAAAAIgJQAAACDIAAAAAAgkAAAgQBAEBCQgAAAAYAGABAQAAQAAAAAAAAAJAAA=="
    assert seen.record(digests(0, 2)) == {"seen": {"hashes": 20, "bits": bits}}
