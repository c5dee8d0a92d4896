"""A bound on Torch-Pruning's graph: where it does not understand a reshape, its indices multiply until memory ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from hubft.compress import layers


@contextmanager
def bounded(model: nn.Module) -> Iterator[None]:
    """Have Torch-Pruning raise where a flattening, in whatever direction, gives more indices than a layer has channels.

    :raises ValueError: it did.
    """
    from torch_pruning.dependency import index_mapping  # not at the top: it is an extra

    known = ((module, layers.of(module)) for module in model.modules())
    widths = [getattr(module, width) for module, layer in known if layer for width in layer.widths]
    most = max((width for width in widths if isinstance(width, int)), default=0)
    flattening = index_mapping._FlattenIndexMapping
    real = flattening.__call__

    def checked(self: Any, idxs: Any) -> Any:
        given = real(self, idxs)
        if len(given) > most:
            raise ValueError(f"it follows {len(given)} channels through a reshape, where no layer has more than {most}")
        return given

    flattening.__call__ = checked
    try:
        yield
    finally:
        flattening.__call__ = real
