"""What the place for a head is given, in models that pool by a setting: those of timm.

Such a model has `forward_features`, which gives tokens or a map; `forward_head`, which pools them; and
`reset_classifier`, which sets how. Which setting does what is asked for is seen in what comes out, never told by names:
a pooling that takes the mean of the patches gives the same where each token is that mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from hubft.families import heads, pooling
from hubft.hookspecs import Loaded

SETTINGS = ("token", "avg")  # of `global_pool`, tried where the model's own does not do what is asked for
NONE = ""  # the setting that pools nothing


def put(loaded: Loaded, pool: str) -> tuple[int, nn.Module | None]:
    """Set the model's pooling to what is asked for; return the width of that, and what must still take it out.

    The second is None where a setting does it. Else the place for the head is given all tokens, and a module takes
    the vectors out of them.

    :raises FamilyError: the model's features do not hold that.
    """
    if pool in ("token", "patches"):
        given = _set(loaded, pool)
        if given is not None:
            return given, None
    if pool not in pooling.OWN:
        return _unpooled(loaded, pool)
    given_now = _given(loaded).given
    if not isinstance(given_now, Tensor) or given_now.ndim != 2:
        raise pooling.untold(loaded, given_now, pool)
    return given_now.shape[1], None


def _given(loaded: Loaded) -> heads.Seen:
    return heads.run(loaded.model, loaded.images.shape, watched=loaded.head)


def _set(loaded: Loaded, pool: str) -> int | None:
    """Return the width that a setting gives which pools as asked for, and set it; None if there is none."""
    model: Any = loaded.model
    with _forward(model, model.forward_features):
        seen = heads.run(model, loaded.images.shape)
    view = pooling.features(seen.outputs, seen.positions).get(pool)
    if view is None:
        raise pooling.untold(loaded, seen.outputs, pool)
    views = [view, replace(view, over=(1, 2))] if view.tensor.ndim == 4 else [view]  # channels may come last
    for setting in (None, *SETTINGS):
        try:
            if setting is not None:
                model.reset_classifier(0, setting)
            if any(_pools(loaded, each) for each in views):
                return int(_given(loaded).given.shape[1])
        except Exception:  # a setting that this model does not have is refused in any way
            continue
    return None


def _pools(loaded: Loaded, view: pooling.View) -> bool:
    """Tell whether the model's pooling takes this vector out of its features, and no more."""
    model: Any = loaded.model
    with _forward(model, lambda _: [model.forward_head(given) for given in (view.tensor, view.spread())]):
        one, other = heads.run(model, loaded.images.shape).outputs
    return one.ndim == 2 and heads.same(one, other)


def _unpooled(loaded: Loaded, pool: str) -> tuple[int, nn.Module]:
    """Have the model pool nothing; return the width of what is asked for, and what takes it out of the tokens."""
    model: Any = loaded.model
    model.reset_classifier(0, NONE)
    seen = _given(loaded)
    found, wanted = pooling.features(seen.given, seen.positions), pooling.wanted_of(pool)
    if not set(wanted) <= set(found) or any(found[what].tensor.ndim != 3 for what in wanted):
        raise pooling.untold(loaded, seen.given, pool)
    views = [found[what] for what in wanted]
    return sum(view.vector().shape[1] for view in views), pooling.module(views)


@contextmanager
def _forward(model: Any, forward: Callable[[Tensor], Any]) -> Iterator[None]:
    """Have the model's forward pass be this one for a while."""
    model.forward = forward
    try:
        yield
    finally:
        del model.forward
