"""Whether a server answers at all, asked once and shortly, before a client that would wait and try again for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from http.client import HTTPException
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

PATIENCE = 5.0  # seconds that a server has for its first answer

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises.

    It runs in a thread that nobody waits for longer: looking up a name knows no timeout of its own, and a timeout of
    connecting counts for each address of a server anew.

    :raises TimeoutError: it took longer.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # it is raised to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([future], seconds).done:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return future.result()


def unreachable(url: str) -> str:
    """Return why the server of a URL cannot be reached, or nothing where it answers, whatever it says.

    The way there is that of urllib, and so of torch.hub: with the proxies and certificates of the environment.
    """
    request = Request(url, method="HEAD")
    try:
        within(PATIENCE, lambda: urlopen(request, timeout=PATIENCE).close())
    except HTTPError as answer:
        answer.close()
    except (OSError, HTTPException) as error:  # URLError and TimeoutError among them
        return f"{urlparse(url).netloc} cannot be reached ({getattr(error, 'reason', '') or error})"
    return ""
