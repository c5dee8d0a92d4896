"""The family `plain` that tests prune: `toy:small` without what no pruning could know of, a buffer for each channel."""

import toy_family
from torch import Tensor

from hubft import Loaded, hookimpl

hubft_family = {"api": (1, 3), "example": "small", "weights": True}


class Plain(toy_family.Small):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.drop(self.block(self.stem(images)).mean((2, 3))))


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    return toy_family.build("plain", name, pretrained, Plain)
