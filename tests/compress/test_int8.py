"""Weights in one byte a number: what is stored, what comes back, and what a stranger's file cannot do."""

from collections.abc import Callable
from pathlib import Path

import packages
import pytest
import safetensors.torch
import torch
from torch import Tensor

from hubft import Head, Job
from hubft.base.errors import PackageError
from hubft.compress import int8
from hubft.publish import package, tensors
from hubft.share import load

State = dict[str, Tensor]
WEIGHTS = ("stem.0.weight", "block.0.weight", "head.weight")


def test_the_package_is_a_quarter_and_gives_the_bits_that_were_measured(tmp_path: Path) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job(compress="int8"))
    header = tensors.header(tmp_path / "p" / package.WEIGHTS)
    assert {name for name, (dtype, _) in header.items() if dtype == torch.int8} == set(WEIGHTS)
    assert all(header[f"{name}..scale"] == (torch.bfloat16, header[name][1][:1]) for name in WEIGHTS)
    assert header["head.bias"][0] == header["stem.1.running_mean"][0] == torch.float32
    found = load.load(tmp_path / "p", prove=True)
    state, wanted = found.state_dict(), trained.state_dict()
    assert state.keys() == wanted.keys()
    assert all(state[n].dtype == wanted[n].dtype and torch.equal(state[n], wanted[n]) for n in wanted)
    assert all(parameter.dtype == torch.float32 for parameter in found.parameters())
    packages.write(tmp_path / "whole", packages.toy_job())
    sizes = [
        sum(t.nbytes for n, t in safetensors.torch.load_file(tmp_path / name / package.WEIGHTS).items() if n in WEIGHTS)
        for name in ("p", "whole")
    ]
    assert 4 * sizes[0] == sizes[1]


def test_every_weight_is_the_nearest_of_its_channel_and_what_was_rounded_stays() -> None:
    random = torch.Generator().manual_seed(0)
    for shape in ((8, 3, 3, 3), (5, 1), (7, 1000), (3, 0)):
        weights = torch.randn(shape, generator=random) * torch.logspace(-30, 3, shape[0]).reshape(
            -1, *[1] * (len(shape) - 1)
        )
        q, scale = int8.quantized(weights)
        back = int8.widened(q, scale)
        step = scale.float().reshape(-1, *[1] * (len(shape) - 1))
        assert ((back - weights).abs() <= 0.5 * step * (1 + 1e-6)).all()
        assert not weights.numel() or (q.flatten(1).abs().amax(1) == 127).all()
        again = int8.quantized(back)
        assert torch.equal(again[0], q) and torch.equal(again[1], scale)


def test_a_channel_of_zeros_or_of_next_to_nothing_is_zero() -> None:
    weights = torch.tensor([[0.0, -0.0], [1e-40, -1e-40], [1.0, -0.5]])
    back = int8.widened(*int8.quantized(weights))
    assert (
        torch.equal(back[:2], torch.zeros(2, 2))
        and not back[:2].signbit().any()
        and back[2, 0] == pytest.approx(1.0, 0.01)
    )


def test_one_weight_that_does_not_fit_keeps_all_in_float32(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    fits = int8.widened(*int8.quantized(torch.randn(4, 9, generator=random)))
    state = {"a": fits, "b": torch.randn(4, 9, generator=random), "bias": torch.randn(4, generator=random)}
    tensors.save(tmp_path / "x", state)
    assert {dtype for dtype, _ in tensors.header(tmp_path / "x").values()} == {torch.float32}
    assert tensors.size(state) == 4 * (36 + 36 + 4) and not tensors.in_int8(state)
    state.pop("b")
    assert tensors.size(state) == 36 + 2 * 4 + 4 * 4 and tensors.in_int8(state)


def test_what_the_package_stores_of_a_delta_is_scaled_too(tmp_path: Path) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job(compress="int8", package="delta"))
    header = tensors.header(tmp_path / "p" / "delta.safetensors")
    assert header["head.weight"][0] == torch.int8
    state = load.load(tmp_path / "p", prove=True).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.state_dict().items())


def replaced(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[State], object]:
    return lambda state: state.update({name: make(state[name])})


HOSTILE = {
    "no scale": (lambda state: state.pop("head.weight..scale"), r"lacks 'head\.weight\.\.scale'"),
    "scale alone": (replaced("head.weight", Tensor.float), r"has 'head\.weight\.\.scale', which the model has not"),
    "scale of a bias": (
        lambda state: state.update({"head.bias..scale": torch.zeros(3).bfloat16()}),
        r"has 'head\.bias\.\.scale'",
    ),
    "int8 bias": (replaced("head.bias", lambda t: t.to(torch.int8)), r"head\.bias is torch\.int8"),
    "wide scale": (replaced("head.weight..scale", Tensor.float), r"head\.weight\.\.scale is torch\.float32 \[3\]"),
    "long scale": (replaced("head.weight..scale", lambda t: t.repeat(2)), r"scale is torch\.bfloat16 \[6\]"),
    "scale a weight": (replaced("head.weight..scale", lambda t: t[:, None].repeat(1, 32)), r"scale is .* \[3, 32\]"),
    "infinity": (replaced("head.weight..scale", lambda t: t / 0), "numbers that are not finite"),
    "no number": (replaced("head.weight..scale", lambda t: t * torch.nan), "numbers that are not finite"),
    "too large": (replaced("head.weight..scale", lambda t: t * 0 + 3e38), r"'head\.weight' holds numbers that are not"),
    "other shape": (replaced("head.weight", lambda t: t[:, :5].clone()), r"head\.weight is torch\.int8 \[3, 5\]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_s_scales_are_refused(tmp_path: Path, name: str) -> None:
    change, words = HOSTILE[name]
    packages.write(tmp_path / "p", packages.toy_job(compress="int8"))
    path = tmp_path / "p" / package.WEIGHTS
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)
    packages.refile(tmp_path / "p", package.WEIGHTS)
    with pytest.raises(PackageError, match=words):
        load.load(tmp_path / "p")


def test_timm_is_not_told_to_load_what_it_cannot(tmp_path: Path) -> None:
    made = Job("timm:test_efficientnet.r160_in1k", "d", head=Head(outputs=3), compress="int8")
    packages.write(tmp_path / "p", made, pretrained=False)
    assert not (tmp_path / "p" / package.CONFIG).exists()
    card = (tmp_path / "p" / package.CARD).read_text()
    assert "timm.create_model" not in card and "`NAME` times `NAME..scale`" in card
    load.load(tmp_path / "p", prove=True)
