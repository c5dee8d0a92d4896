"""A head for a model that gives features: a vector an image, a class token and patches, or a feature map."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from hubft.base.errors import FamilyError, Option
from hubft.families import heads, structure
from hubft.hookspecs import Loaded
from hubft.job import Head

BODY, POOL, HEAD = "body", "pool", "head"
OWN = ("auto", "own")  # values of `Head.pool` for what a model gives


@dataclass(frozen=True)
class View:
    """One vector an image, in what a model gives."""

    path: tuple[Any, ...]
    """Keys and places that lead to the tensor."""
    tensor: Tensor
    start: int = 0
    """Of tokens, the first that counts."""
    over: tuple[int, ...] = ()
    """Dimensions that are averaged; none takes the token at `start`."""

    def vector(self) -> Tensor:
        """Return it for each image, `[batch, width]`."""
        if self.tensor.ndim == 3:
            return self.tensor[:, self.start :].mean(1) if self.over else self.tensor[:, self.start]
        return self.tensor.mean(self.over) if self.over else self.tensor

    def spread(self) -> Tensor:
        """Return the tensor with this vector at every position: what takes this vector out does not see the change."""
        if self.tensor.ndim == 3:
            return self.vector()[:, None].expand_as(self.tensor)
        return self.tensor.mean(self.over, keepdim=True).expand_as(self.tensor)

    def node(self, outputs: fx.Node) -> fx.Node:
        """Return this vector in a graph."""
        graph, node = outputs.graph, outputs
        for key in self.path:
            node = graph.call_function(operator.getitem, (node, key))
        if self.tensor.ndim == 3:
            rows = slice(self.start, None) if self.over else self.start
            node = graph.call_function(operator.getitem, (node, (slice(None), rows)))
        return graph.call_method("mean", (node, list(self.over))) if self.over else node


def bodied(model: nn.Module, seen: heads.Seen) -> tuple[nn.Sequential, structure.Stages]:
    """Return a model that gives features, as `body`, with the place for its head, and the stages of the two.

    For a model that has no place for a head of its own. The classes are torch's own, nothing more.

    :param seen: a pass through the model.
    :raises FamilyError: what it gives are no features.
    """
    if not features(seen.outputs, seen.positions):
        raise FamilyError(f"it gives {heads.described(seen.outputs)}, neither the outputs of a head nor features")
    made = nn.Sequential()
    made.add_module(BODY, model)
    made.add_module(HEAD, nn.Identity())
    order = {f"{BODY}.{module}".rstrip("."): place for module, place in seen.order.items()}
    return made, structure.stages(made, structure.children(made, [HEAD], order), [HEAD])


def features(outputs: Any, positions: int) -> dict[str, View]:
    """Return what a head can be put on: `token`, one vector an image, and `patches`, to be averaged over positions.

    Tokens in front of those that stand for positions are special ones: the first is the class token.

    :param positions: of the first convolution; as many tokens are patches.
    :raises FamilyError: several tensors that could be either.
    """
    found: dict[str, list[View]] = {"token": [], "patches": []}
    for path, tensor in _leaves(outputs):
        if tensor.ndim == 2:
            found["token"].append(View(path, tensor))
        elif tensor.ndim == 4:
            found["patches"].append(View(path, tensor, over=(2, 3)))
        elif tensor.ndim == 3 and tensor.shape[1] >= positions > 0:
            found["patches"].append(View(path, tensor, tensor.shape[1] - positions, (1,)))
    exact = [view for view in found["patches"] if not view.start]
    found["patches"] = exact or found["patches"]
    if found["patches"] and found["patches"][0].start and not found["token"]:
        found["token"] = [View(view.path, view.tensor) for view in found["patches"]]
    for what, views in found.items():
        if len(views) > 1:
            where = ", ".join("".join(f"[{key!r}]" for key in view.path) for view in views[:8])
            raise FamilyError(f"it gives several tensors that could be its {what}: {where}")
    return {what: views[0] for what, views in found.items() if views}


def _leaves(outputs: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    if isinstance(outputs, Tensor):
        yield path, outputs
    items = outputs.items() if isinstance(outputs, dict) else enumerate(outputs) if _is_row(outputs) else ()
    for key, value in items:
        yield from _leaves(value, (*path, key))


def _is_row(outputs: Any) -> bool:
    return isinstance(outputs, tuple | list)


def put(loaded: Loaded, asked: Head) -> int:
    """Return the width of what the head of a model that gives features will be given, once it gives what is asked.

    :param asked: its `pool` says what the head is put on; what the model does not give in its forward pass is asked
        of its method `forward_features`, if that shows the same features.
    :raises FamilyError: the model does not give that.
    """
    seen = heads.run(loaded.model, loaded.images.shape, watched=loaded.head)
    if isinstance(seen.given, Tensor) and seen.given.ndim == 2 and asked.pool in OWN:
        return seen.given.shape[1]
    views = features(seen.given, seen.positions)
    wanted = wanted_of(asked.pool, views)
    if isinstance(seen.given, Tensor) and seen.given.ndim == 2:
        views = _inside(loaded, seen.given)
    if not set(wanted) <= set(views) or not isinstance(loaded.model, nn.Sequential):
        raise untold(loaded, seen.given, asked.pool)
    head = loaded.model.get_submodule(loaded.head)
    delattr(loaded.model, loaded.head)
    loaded.model.add_module(POOL, module([views[what] for what in wanted]))
    loaded.model.add_module(loaded.head, head)
    return sum(views[what].vector().shape[1] for what in wanted)


def _inside(loaded: Loaded, given: Tensor) -> dict[str, View]:
    """Return what the body's `forward_features` gives, which is its forward pass from now on; nothing if it differs."""
    body: Any = getattr(loaded.model, BODY, None)
    if not callable(getattr(body, "forward_features", None)):
        return {}
    body.forward = body.forward_features
    try:
        seen = heads.run(loaded.model, loaded.images.shape, watched=loaded.head)
        views = features(seen.given, seen.positions)
    except Exception:  # anyone's method: then it is not what was asked for
        views = {}
    if not any(heads.same(view.vector(), given) for view in views.values()):
        del body.forward
        return {}
    return views


def wanted_of(pool: str, views: Iterable[str] = ()) -> list[str]:
    """Return which vectors a head is put on for a value of `Head.pool`, where a model has these."""
    if pool in OWN:
        return ["token"] if "token" in views else ["patches"]
    return ["token", "patches"] if pool == "both" else [pool]


def untold(loaded: Loaded, given: Any, pool: str) -> FamilyError:
    """Return the error of a model in whose features there is not what `pool` asks for."""
    return FamilyError(
        f"{loaded.base.reference} gives {heads.described(given)}, in which no {' and no '.join(wanted_of(pool))} can "
        "be told apart: leave ",
        Option("pool"),
        f" {pool} out",
    )


def module(views: list[View]) -> fx.GraphModule:
    """Return a module of torch alone that takes these vectors out of a model's outputs, side by side."""
    graph = fx.Graph()
    outputs = graph.placeholder("outputs")
    nodes = [view.node(outputs) for view in views]
    graph.output(graph.call_function(torch.cat, (nodes, 1)) if len(nodes) > 1 else nodes[0])
    return fx.GraphModule(nn.Module(), graph)
