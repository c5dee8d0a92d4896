"""The family `keyed` that tests train: `toy:small` for inputs by keyword, whose outputs lie in a dict."""

from dataclasses import replace

import toy_family
from torch import Tensor

from hubft import Loaded, hookimpl

hubft_family = {"api": (1, 1), "example": "small", "weights": True}


class Keyed(toy_family.Small):
    """Fails for whoever calls it as most models are called."""

    def forward(self, *, pixels: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        features = self.block(self.stem(pixels)).mean((2, 3))
        return {"logits": self.head(self.drop(features * self.taper)), "features": features}


def by_keyword(model: Keyed, inputs: Tensor) -> Tensor:
    return model(pixels=inputs)["logits"]


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    return replace(toy_family.build("keyed", name, pretrained, Keyed), forward=by_keyword)
