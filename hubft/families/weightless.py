"""A build without weights, also where the code that builds asks for them whatever it is told."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import nn

PATCHED = threading.RLock()  # what is replaced is the whole process's: one thread at a time


class Nothing(dict[Any, Any]):
    """Stands for weights that were asked for: it is empty, and so is what is looked up in it."""

    def __missing__(self, key: Any) -> Nothing:
        return self

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"its code looks at the {name} of weights, which are not there while it is built")

    def __delitem__(self, key: Any) -> None:
        """Take out what is not there."""


@contextmanager
def without_weights() -> Iterator[list[str]]:
    """Have this thread download and read no weights; give the list of what it asked for.

    torch.hub fetches nothing, `torch.load` gives `Nothing`, and once either was asked for, `load_state_dict` leaves a
    model as it was constructed. Every other way to the network fails, as if there were none. torch.hub's functions
    are replaced below `load_state_dict_from_url`, which repositories import by name.
    """
    asked: list[str] = []

    def refuse(host: object) -> None:
        asked.append(str(host))
        raise socket.gaierror(socket.EAI_FAIL, "no network while a model is built without its weights")

    filled = nn.modules.module._IncompatibleKeys([], [])
    fill = nn.Module.load_state_dict
    places: list[tuple[Any, str, Callable[..., Any]]] = [
        (torch.hub, "download_url_to_file", lambda url, *_, **__: asked.append(str(url))),
        (torch, "load", lambda file, *_, **__: asked.append(str(file)) or Nothing()),  # type: ignore[func-returns-value]
        (nn.Module, "load_state_dict", lambda *its, **options: filled if asked else fill(*its, **options)),
        (socket, "getaddrinfo", lambda host, *_, **__: refuse(host)),
    ]
    with PATCHED, redirect_stdout(io.StringIO()):  # torch.hub prints that it downloads
        real = [getattr(owner, name) for owner, name, _ in places]
        for (owner, name, ours), theirs in zip(places, real, strict=True):
            setattr(owner, name, _here(ours, theirs))
        try:
            yield asked
        finally:
            for (owner, name, _), theirs in zip(places, real, strict=True):
                setattr(owner, name, theirs)


def _here(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is `ours` in this thread and `theirs` in every other."""
    thread = threading.get_ident()
    return lambda *args, **options: (ours if threading.get_ident() == thread else theirs)(*args, **options)
