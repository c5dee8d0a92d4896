"""Which samples are held out: groups whole, strata even, by content and seed alone."""

import random
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from hashlib import sha256 as digest

import pytest

from hubft.data.split import split


@dataclass(frozen=True)
class Item:
    """What a split looks at, with its strata."""

    content: str
    strata: tuple[Hashable, ...]
    group: str = ""

    @property
    def sha256(self) -> str:
        return digest(self.content.encode()).hexdigest()


def strata(item: Item) -> Iterable[Hashable]:
    return item.strata


def counts(items: Iterable[Item]) -> Counter[Hashable]:
    return Counter(stratum for item in items for stratum in item.strata)


def grouped(n: int, groups: int) -> list[Item]:
    drawn = random.Random(5)
    return [Item(str(i), (drawn.choice("aaab"),), f"g{drawn.randrange(groups)}") for i in range(n)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_group_is_never_on_both_sides(seed: int, share: float) -> None:
    items = grouped(300, 60)
    stay, held = split(items, strata, share, seed)
    assert sorted([*stay, *held], key=lambda item: int(item.content)) == items
    assert not {item.group for item in stay} & {item.group for item in held}
    for stratum, number in counts(items).items():
        assert counts(held)[stratum] == pytest.approx(share * number, abs=max(6, 0.1 * number)), "about the share"
    assert counts(stay).keys() == counts(held).keys() == {"a", "b"}


def test_equal_inputs_are_on_one_side_and_a_group_takes_its_own_along() -> None:
    items = [Item(str(i // 2), ("ab"[i // 2 % 2],)) for i in range(80)]
    stay, held = split(items, strata, 0.25, 0)
    assert not {item.content for item in stay} & {item.content for item in held}
    assert counts(held) == {"a": 10, "b": 10}


@pytest.mark.parametrize("seed", range(5))
def test_strata_that_overlap_all_have_their_share(seed: int) -> None:
    """As the labels of images with several: of each the share, the rare ones too."""
    drawn = random.Random(seed)
    shares = {"common": 0.6, "usual": 0.3, "rare": 0.06, "rarest": 0.02}
    items = [Item(str(i), tuple(name for name, p in shares.items() if drawn.random() < p)) for i in range(500)]
    stay, held = split(items, strata, 0.2, seed)
    whole, out = counts(items), counts(held)
    for name, number in whole.items():
        assert out[name] >= max(1, round(0.2 * number)) and whole[name] - out[name] >= 1, name
        assert out[name] <= 0.2 * number + 0.08 * number + 3, name
    assert len(stay) + len(held) == 500


def test_none_is_left_without_a_sample_that_stays() -> None:
    items = [Item("1", ("a",)), Item("2", ("a", "b")), Item("3", ("b", "c")), Item("4", ("d",))]
    for seed in range(20):
        stay, held = split(items, strata, 0.5, seed)
        assert counts(stay).keys() >= {"a", "b", "c", "d"} and len(held) == 1


def test_it_depends_on_content_and_seed_and_not_on_order_or_names() -> None:
    items = grouped(100, 20)
    first = {item.content for item in split(items, strata, 0.3, 1)[1]}
    assert {item.content for item in split(items[::-1], strata, 0.3, 1)[1]} == first
    renamed = [Item(item.content, item.strata, f"other {item.group}") for item in items]
    assert {item.content for item in split(renamed, strata, 0.3, 1)[1]} == first
    assert {item.content for item in split(items, strata, 0.3, 2)[1]} != first
    assert {item.content for item in split(items, strata, 0.3, 1, "tune")[1]} != first
