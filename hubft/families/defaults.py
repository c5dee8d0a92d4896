"""The core's own plugin: what a family inherits where it does not override a hook."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from hubft.base.errors import FamilyError
from hubft.compress import table
from hubft.compress.work import Work
from hubft.families import pooling, stages
from hubft.hookspecs import Batch, Compressed, Forward, Loaded, Tune, hookimpl
from hubft.job import Head

Layer = Callable[[int, int], Any]


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    if not head.outputs:
        return loaded
    old = loaded.model.get_submodule(loaded.head)
    if isinstance(old, nn.Identity):  # the model gives features
        width = pooling.put(loaded, head)
        loaded.model.set_submodule(loaded.head, linear(width, head))
        return loaded
    if not isinstance(old, nn.Linear):
        raise FamilyError(
            f"{loaded.base.reference}: its head {loaded.head!r} is a {type(old).__name__}, and the core replaces only "
            f"a Linear; the family {loaded.base.reference.partition(':')[0]!r} must implement the hook `adapt_head`"
        )
    loaded.model.set_submodule(loaded.head, linear(old.in_features, head))
    return loaded


def linear(inputs: int, head: Head, layer: Layer = nn.Linear, std: float = 0.0) -> nn.Module:
    """Return a layer from `inputs` to `head.outputs`, or an MLP (GELU) where the head has hidden sizes.

    The last layer starts at zero, so that a fresh head sends no noise into pretrained features
    (as in Big Transfer, https://arxiv.org/abs/1912.11370).

    :param layer: makes each layer from its widths.
    :param std: of the last layer's first weights, where what follows it forbids zeros.
    """
    layers: list[nn.Module] = []
    for width, following in pairwise([inputs, *head.hidden, head.outputs]):
        layers += [nn.GELU()] if layers else []
        layers += [nn.Dropout(head.dropout)] if head.dropout else []
        layers.append(last := layer(width, following))
    nn.init.normal_(last.weight, std=std) if std else nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def convolution(inputs: int, head: Head, std: float = 0.0) -> nn.Module:
    """Return `linear` as 1x1 convolutions, for heads that see a feature map."""
    return linear(inputs, head, partial(nn.Conv2d, kernel_size=1), std)


@hookimpl
def freeze(loaded: Loaded, train: str, progress: float) -> frozenset[str]:
    return stages.trainable(loaded, train, progress)


@hookimpl
def train_step(model: nn.Module, batch: Batch, criterion: nn.Module, forward: Forward) -> dict[str, Tensor]:
    inputs, targets = batch
    outputs = forward(model, inputs)
    return {"loss": criterion(outputs, targets), "outputs": outputs}


@hookimpl
def compress(model: nn.Module, method: str, batches: Iterable[Batch], loaded: Loaded, tune: Tune) -> Compressed:
    return table.apply(method, Work(replace(loaded, model=model), batches, tune))
