"""Models of the families for tests: a checkout with a hubconf.py, a model without memory, pictures of odd sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pluggy
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from hubft import Loaded, Preprocess
from hubft.families import plugins
from hubft.families.build import parameters_on_meta
from hubft.images import transforms

HUBCONF = '''
from collections import OrderedDict
import torch
from torch import nn

dependencies = ["torch"]
calls = []


def small(pretrained=False):
    """A convnet with batch norms."""
    layers = OrderedDict(
        stem=nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.ReLU()),
        block=nn.Sequential(nn.Conv2d(8, 16, 3, 4), nn.BatchNorm2d(16), nn.ReLU()),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        head=nn.Linear(16, 10),
    )
    model = nn.Sequential(layers)
    if pretrained:
        nn.init.constant_(model.head.bias, 3.0)
    return model


def flagged(weights=None, **options):
    model = small()
    model.weights, model.options = weights, options
    return model


class Backwards(nn.Module):
    """Registered from the head to the stem, with a layer that no forward pass uses."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(16, 10)
        self.spare = nn.Linear(16, 5)
        self.late = nn.Sequential(nn.Conv2d(8, 16, 3, 4), nn.BatchNorm2d(16))
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8))

    def forward(self, images):
        return self.out(self.late(self.early(images)).mean((2, 3)))


def backwards():
    return Backwards()


class Tied(nn.Module):
    """Two layers of one weight, twice: in residual sums, where both lose the same channels, or one after the other."""

    def __init__(self, residual):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 4), nn.BatchNorm2d(32), nn.ReLU())
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)
        self.second.weight = self.first.weight
        self.conv, self.again = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.again.weight, self.again.bias = self.conv.weight, self.conv.bias
        self.head, self.residual = nn.Linear(32, 10), residual

    def forward(self, images):
        x = self.stem(images)
        x = x + self.conv(x).relu()
        x = (x + self.again(x)).mean((2, 3))
        for layer in (self.first, self.second):
            x = x + layer(x).relu() if self.residual else layer(x).relu()
        return self.head(x)


def tied():
    return Tied(True)


def twisted():
    return Tied(False)


def with_config():
    model = small()
    model.pretrained_cfg = {"input_size": (3, 96, 96), "crop_pct": 0.75, "crop_mode": "squash", "mean": (0.1, 0.2, 0.3)}
    return model


def with_transform():
    from torchvision.transforms import InterpolationMode, v2

    model = small()
    steps = [v2.Resize(70, InterpolationMode.BICUBIC), v2.CenterCrop(64), v2.ToImage(),
             v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    object.__setattr__(model, "preprocess", v2.Compose(steps))
    return model


def with_strange_transform():
    from torchvision.transforms import v2

    model = small()
    object.__setattr__(model, "preprocess", v2.Compose([v2.Resize(70), v2.GaussianBlur(3)]))
    return model


def features():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Pooled(nn.Module):
    """Gives features: its only Linear mixes positions, which are averaged after it."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 8, 32, 32), nn.Linear(49, 6)

    def forward(self, images):
        return self.mix(self.conv(images).flatten(2)).mean(2)


def pooled():
    return Pooled()


def several():
    """Gives two vectors, and it is not known which is to be taken."""

    class Pair(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)), images.amax((2, 3))

    return Pair()


def raising():
    raise ValueError("two\\nlines")


def leaving():
    raise SystemExit(3)


def no_model():
    return "a text"
'''


def checkout(folder: Path) -> Path:
    """Return the folder, now with a hubconf.py."""
    (folder / "hubconf.py").write_text(HUBCONF)
    return folder


def on_meta(pm: pluggy.PluginManager, name: str) -> Loaded:
    """Return a model whose parameters have no memory, as the core builds one to fill it."""
    with parameters_on_meta():
        loaded: Loaded = pm.hook.load(name=name, pretrained=False, config={}, task="")
    return loaded


def picture(width: int, height: int) -> Image.Image:
    pixels = numpy.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels)


ODD = [(233, 311), (377, 251), (61, 97), (225, 224)]


def check_same_bits(preprocess: Preprocess, theirs: Callable[[Image.Image], Tensor]) -> None:
    ours = transforms.evaluation(preprocess)
    for size in ODD:
        assert torch.equal(ours(picture(*size)), theirs(picture(*size))), size


def made_up_weights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the family timm find random weights in place of those that the Hub has."""
    real = timm.create_model

    def weights(name: str, *_: object) -> tuple[str, str]:
        file = folder / f"{name.partition('.')[0]}.safetensors"  # with its tag or without, it is one model
        if not file.exists():
            save_file({n: t.contiguous() for n, t in real(name).state_dict().items()}, file)
        return str(file), "0" * 40

    monkeypatch.setattr(plugins.manager("timm").get_plugin("timm"), "_weights", weights)
