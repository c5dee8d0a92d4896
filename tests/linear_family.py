"""The family `linear` that tests compress by torchao: `linear:small`, most of whose weights multiply matrices."""

import toy_family
from torch import Tensor, nn

from hubft import Loaded, hookimpl

hubft_family = {"api": (1, 3), "example": "small", "weights": True}


class Small(nn.Module):
    """Cuts images of 32 pixels into patches of 8, and mixes the numbers of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.block = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 256), nn.GELU(), nn.Linear(256, 32))
        self.head = nn.Linear(32, toy_family.CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.stem(images).flatten(2).mT).mean(1))


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    return toy_family.build("linear", name, pretrained, Small)
