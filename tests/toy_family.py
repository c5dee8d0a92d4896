"""The family `toy` that tests train and publish: `toy:small`, a convnet of 5 thousand numbers, nothing to download.

`toy:remote` is the same network, and its weights cannot be had.

It has what goes wrong elsewhere: BatchNorm, Dropout, and a buffer that is computed and not saved.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hubft import Base, HubftError, Loaded, Preprocess, hookimpl

hubft_family = {"api": (1, 0), "example": "small", "weights": True}

CLASSES = 10
STAGES = {"stem": ("stem",), "block": ("block",), "head": ("head",)}


class Small(nn.Module):
    """A convnet for images of 16 pixels or more."""

    taper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(32, CLASSES)
        self.register_buffer("taper", torch.linspace(0.5, 1.5, 32), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.block(self.stem(images)).mean((2, 3))
        return self.head(self.drop(features * self.taper))


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    return build("toy", name, pretrained, Small)


def build(family: str, name: str, pretrained: bool, net: Callable[[], nn.Module]) -> Loaded:
    """Return what the toy family's `load` gives, for a family of another name and another network."""
    if name not in ("small", "remote"):
        raise HubftError(f"{family}:{name}: the models are {family}:small and {family}:remote")
    if name == "remote" and pretrained:
        raise HubftError(f"{family}:remote needs a package that is not installed")
    model = net()
    if pretrained:
        fill(model)
    preprocess = Preprocess(size=(32, 32), resize=36)
    return Loaded(model, "head", STAGES, preprocess, Base(f"{family}:{name}", revision="1", license="cc0-1.0"))


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Give every saved tensor its `pretrained` values: the same bits at each call, no global generator touched."""
    random = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=random)
        if tensor.dim() > 1:
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
        else:
            near_one = name.endswith("running_var") or (name.endswith("weight") and not name.startswith("head"))
            tensor.copy_(near_one + 0.1 * noise.abs())
