"""The layers that can get narrower: the names of their widths, and the shapes of their tensors by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from hubft.base.errors import PackageError

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layer:
    """A class of layers, subclasses included."""

    kind: type[nn.Module]
    widths: tuple[str, ...]
    shapes: Callable[[Any], Shapes]
    """Gives the shapes of a layer's tensors by its widths; of those too that it may not have.

    Raises PackageError where the widths cannot be those of one layer."""
    outputs: str = ""
    """Which of the widths counts the outputs; empty where those are the inputs."""


def _convolution(layer: Any) -> Shapes:
    if layer.in_channels % layer.groups or layer.out_channels % layer.groups:
        raise PackageError(f"{layer.groups} groups do not divide its channels")
    weight = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    return {"weight": weight, "bias": (layer.out_channels,)}


def _linear(layer: Any) -> Shapes:
    return {"weight": (layer.out_features, layer.in_features), "bias": (layer.out_features,)}


def _norm(layer: Any) -> Shapes:
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (layer.num_features,))


def _layer_norm(layer: Any) -> Shapes:
    return dict.fromkeys(("weight", "bias"), layer.normalized_shape)


def _group_norm(layer: Any) -> Shapes:
    if layer.num_channels % layer.num_groups:
        raise PackageError(f"{layer.num_groups} groups do not divide its channels")
    return dict.fromkeys(("weight", "bias"), (layer.num_channels,))


def _attention(layer: Any) -> Shapes:
    if layer.embed_dim % layer.num_heads:
        raise PackageError(f"{layer.num_heads} heads do not divide its embed_dim")
    return {"in_proj_weight": (3 * layer.embed_dim, layer.embed_dim), "in_proj_bias": (3 * layer.embed_dim,)}


LAYERS = (
    Layer(nn.Linear, ("in_features", "out_features"), _linear, "out_features"),
    Layer(nn.Conv1d, ("in_channels", "out_channels", "groups"), _convolution, "out_channels"),
    Layer(nn.Conv2d, ("in_channels", "out_channels", "groups"), _convolution, "out_channels"),
    Layer(nn.modules.batchnorm._BatchNorm, ("num_features",), _norm),
    Layer(nn.LayerNorm, ("normalized_shape",), _layer_norm),
    Layer(nn.GroupNorm, ("num_channels",), _group_norm),
    Layer(nn.MultiheadAttention, ("embed_dim",), _attention),
)


def of(module: nn.Module) -> Layer | None:
    """Return what is known of a module, if it is one of these layers."""
    return next((layer for layer in LAYERS if isinstance(module, layer.kind)), None)
