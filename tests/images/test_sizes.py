"""The size of a model's input: bounded by what the model itself shows in forward passes."""

from pathlib import Path

import pictures
import pytest
import torch
from torch import nn
from torchvision import models

from hubft import Base, Job, Loaded, Preprocess, engine
from hubft.base.errors import JobError
from hubft.families import plugins
from hubft.images import sizes
from hubft.job import Compute, Recipe


def loaded(model: nn.Module) -> Loaded:
    return Loaded(model.eval(), "", {}, Preprocess((48, 48), 48), Base("toy:net"))


def halving(times: int) -> nn.Module:
    """Return a classifier that halves its input so many times, and takes any size at all."""
    layers = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(times)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


class Fixed(nn.Module):
    """Takes one size, as vision transformers do, and says nothing when it gets another."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] != 48:
            raise AssertionError
        return images.mean((2, 3))


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        (halving(5), 16, r"a single pixel is left of them where 4 halves what it gets; the nearest .* use is 17$"),
        (halving(5), 8, r"a single pixel is left of them where 3 halves what it gets; the nearest .* use is 17$"),
        (Fixed(), 40, r"size: AssertionError; the nearest size that it can use is 48$"),
        (Fixed(), 300, r"size: AssertionError; the nearest size that it can use is 48$"),
        (nn.Conv2d(3, 2, 20), 10, r"Kernel size .*; the nearest size that it can use is 20$"),
        (nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), 10, r"cannot be multiplied.*; 0 is its own size$"),
    ],
)
def test_a_size_that_a_model_cannot_use_is_refused_with_the_nearest(model: nn.Module, size: int, said: str) -> None:
    with pytest.raises(JobError, match=said) as caught:
        sizes.check(loaded(model), Job("toy:net", "d", size=size))
    assert str(caught.value).startswith(f"size {size}: toy:net cannot use images of that size: ")
    assert "\n" not in str(caught.value) and caught.value.typed().startswith("--size ")
    assert not [module for module in model.modules() if module._forward_pre_hooks]


@pytest.mark.parametrize("size", [0, 8, 9, 31, 4096])
def test_a_model_without_strides_takes_what_it_gets(size: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    sizes.check(loaded(model), Job("toy:net", "d", size=min(size, 64)))


def test_a_layer_that_gets_one_pixel_at_any_size_was_trained_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "LARGEST", 12)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1, stride=2), nn.Flatten())
    sizes.check(loaded(model), Job("toy:net", "d", size=9))


@pytest.mark.parametrize(("name", "least"), [("resnet18", 17), ("squeezenet1_1", 17), ("mobilenet_v3_small", 17)])
def test_models_of_torchvision_have_a_least_size(name: str, least: int) -> None:
    model = models.get_model(name, weights=None, num_classes=2).eval()
    for size in (least, 28, 32):
        sizes.check(loaded(model), Job(f"torchvision:{name}", "d", size=size))
    with pytest.raises(JobError, match=f"the nearest size that it can use is {least}$"):
        sizes.check(loaded(model), Job(f"torchvision:{name}", "d", size=least - 1))


def test_what_is_refused_does_not_depend_on_the_time_that_a_machine_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "PATIENCE", -1.0)
    with pytest.raises(JobError, match=r"halves what it gets; 0 is its own size$"):
        sizes.check(loaded(halving(5)), Job("toy:net", "d", size=8))


def test_a_detector_reads_larger_maps_than_its_last() -> None:
    load = plugins.manager("torchvision").hook.load
    ssd = load(name="ssdlite320_mobilenet_v3_large", pretrained=False, config={}, task="boxes")
    ssd.model.eval()
    sizes.check(ssd, Job("torchvision:ssdlite320_mobilenet_v3_large", "d", size=64))


def test_a_run_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures.folder(tmp_path / "data", ("a", "b"), 2, 1)
    job = Job("toy:small", data, size=9, recipe=Recipe(epochs=0), compute=Compute("cpu"), output=tmp_path / "run")
    monkeypatch.setattr(sizes, "_problem", lambda model, size: "it is too small" if size < 12 else "")
    with pytest.raises(JobError, match=r"^size 9: toy:small .* too small; the nearest size that it can use is 12$"):
        engine.finetune(job)
    assert not (tmp_path / "run").exists()
