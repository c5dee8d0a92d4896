"""Batches as trees: counted, sliced, moved and joined in one place, whatever they are made of."""

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch

from hubft.base import batches


class Pair(NamedTuple):
    ids: torch.Tensor
    words: list[str]


def tree(samples: int) -> tuple[object, ...]:
    """Return a batch of everything that a batch may be made of."""
    ids = torch.arange(samples)
    inputs = OrderedDict(ids=ids, pair=Pair(ids, [str(i) for i in range(samples)]), scale=torch.tensor(2.0), name="x")
    return inputs, [{"boxes": torch.full((i, 4), float(i))} for i in range(samples)]


def equal(one: object, other: object) -> bool:
    """Tell whether two trees are of the same types and values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)  # type: ignore[arg-type]
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)  # type: ignore
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))  # type: ignore
    return one == other


@pytest.mark.parametrize("samples", range(1, 14))
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 12])
def test_a_batch_is_cut_evenly_and_never_to_one_sample(samples: int, parts: int) -> None:
    whole = tree(samples)
    found = batches.even(whole, parts)
    sizes = [batches.count(part) for _, part in found]
    assert len(sizes) == max(1, min(parts, samples // 2)) and max(sizes) - min(sizes) <= 1
    assert [share for share, _ in found] == pytest.approx([size / samples for size in sizes])
    assert equal(batches.concat([part for _, part in found]), whole)


def test_rows_of_lists_and_tensors_are_the_same_samples() -> None:
    inputs, targets = batches.rows(tree(5), 1, 3)
    assert inputs["ids"].tolist() == [1, 2] and inputs["pair"].words == ["1", "2"]
    assert [len(target["boxes"]) for target in targets] == [1, 2]
    assert inputs["scale"] == 2 and inputs["name"] == "x"


def test_every_tensor_is_moved_and_only_images_get_their_memory_format() -> None:
    images = torch.rand(2, 3, 8, 8)
    device = torch.device("meta")
    moved = batches.to((images, tree(2)), device, torch.channels_last)
    assert moved[0].device == device and moved[1][1][1]["boxes"].device == device
    assert moved[0].is_contiguous(memory_format=torch.channels_last)
    assert moved[1][0]["pair"].words == ["0", "1"]


@pytest.mark.parametrize("wrong", [(torch.zeros(2), torch.zeros(3)), {"a": torch.zeros(2), "b": [1]}, ("x", 3)])
def test_parts_that_do_not_agree_are_no_batch(wrong: object) -> None:
    with pytest.raises(ValueError, match="samples"):
        batches.count(wrong)
