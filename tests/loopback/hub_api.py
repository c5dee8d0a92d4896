"""How the loopback Hub answers: the table of its routes, tokens and rights, and the forms of an answer."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopback.hub import Hub


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    token: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Answer:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


SPACE = "space~"
"""Stands before owner/name of a Space, which may be called as a model is."""
ROUTES: list[tuple[str, re.Pattern[str], bool, Callable[..., Answer]]] = []


def route(method: str, path: str, write: bool = False) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Register the function that answers a method and path; `{repo}` is owner/name, `{path}` may have slashes."""
    kinds = {"repo": "[^/]+/[^/]+?", "path": ".+", "sha256": "[0-9a-f]{64}"}
    parts = re.split(r"\{(\w+)\}", path)
    names = [f"(?P<{name}>{kinds.get(name, '[^/]+')})" for name in parts[1::2]]
    pattern = re.compile("".join(re.escape(a) + b for a, b in zip(parts[::2], [*names, ""], strict=True)))

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, pattern, write, function))
        return function

    return register


def answer(hub: Hub, request: Request) -> Answer:
    """Carry a request out."""
    if request.token not in ("", hub.token):
        return error(401, "Invalid credentials in Authorization header")
    path = re.sub(r"^/(api/)?spaces/", lambda its: f"/{'api/models/' if its[1] else ''}{SPACE}", request.path)
    for method, pattern, write, function in ROUTES:
        match = pattern.fullmatch(path)
        if method != request.method or not match:
            continue
        named = {key: urllib.parse.unquote(value) for key, value in match.groupdict().items()}
        if write and not request.token:
            return error(401, "Invalid username or password.")
        repo = named.get("repo", "")
        if repo and (repo not in hub.refs or (repo in hub.private and not request.token)):
            return error(404, "Repository not found", "RepoNotFound")
        if write and repo.partition("/")[0].removeprefix(SPACE) in hub.forbidden:
            return error(403, "Forbidden: you must use a write token to upload to a repository.")
        return function(hub, request, **named)
    return error(404, f"no route {request.path}")


def reply(value: object, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), 200, {"Content-Type": "application/json", **headers})


def error(status: int, message: str, code: str = "", **more: str) -> Answer:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Answer(json.dumps({"error": message, **more}).encode(), status, headers)


def no_revision(revision: str) -> Answer:
    return error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
