"""What the loopback Hub shows: revisions, trees, files; learned from what the client asks and expects."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from typing import TYPE_CHECKING, Any

from loopback import xet
from loopback.hub_api import Answer, Request, error, no_revision, reply, route

if TYPE_CHECKING:
    from loopback.hub import Hub


@route("GET", "/api/models/{repo}")
@route("GET", "/api/models/{repo}/revision/{revision}")
@route("GET", "/api/datasets/{repo}")
@route("GET", "/api/datasets/{repo}/revision/{revision}")
def info(hub: Hub, request: Request, repo: str, revision: str = "main") -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    siblings = [{"rfilename": path} for path in hub.commits[sha]]
    return reply({"id": repo, "sha": sha, "private": repo in hub.private, "siblings": siblings, "tags": []})


@route("GET", "/api/models/{repo}/refs")
def refs(hub: Hub, request: Request, repo: str) -> Answer:
    kinds: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
    for name, sha in hub.refs[repo].items():
        kind, folder = ("tags", "tags") if (repo, name) in hub.tags else ("branches", "heads")
        kinds[kind].append({"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": sha})
    return reply(kinds)


@route("GET", "/api/models/{repo}/tree/{revision}")
def tree(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    return reply([entry(hub, path, data) for path, data in hub.commits[sha].items()])


@route("POST", "/api/models/{repo}/paths-info/{revision}")
def paths_info(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    wanted = urllib.parse.parse_qs(request.body.decode())["paths"]
    return reply([entry(hub, path, data) for path, data in hub.commits[sha].items() if path in wanted])


@route("GET", "/{repo}/resolve/{revision}/{path}")
@route("GET", "/datasets/{repo}/resolve/{revision}/{path}")
def resolve(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    data = hub.commits[sha].get(path)
    if data is None:
        missing = error(404, "Entry not found", "EntryNotFound")
        return Answer(missing.body, missing.status, {**missing.headers, "X-Repo-Commit": sha})
    facts = entry(hub, path, data)
    headers = {"X-Repo-Commit": sha, "ETag": f'"{facts["oid"]}"', "Accept-Ranges": "bytes"}
    if "lfs" in facts:
        headers |= {"X-Linked-Etag": f'"{facts["lfs"]["oid"]}"', "X-Linked-Size": str(len(data))}
    if "xetHash" in facts:
        link = f'<{hub.url}/api/models/{repo}/xet-read-token/{sha}>; rel="xet-auth"'
        headers |= {"X-Xet-Hash": facts["xetHash"], "Link": link}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not asked:
        return Answer(data, headers=headers)
    start, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
    headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
    return Answer(data[start : last + 1], 206, headers)


def entry(hub: Hub, path: str, data: bytes) -> dict[str, Any]:
    """Return a file's line in a tree: its git id, and where it is large its sha256; git then has but a pointer."""
    facts: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
    if not hub.is_large(path, len(data)):
        return {**facts, "oid": git_id(data)}
    sha256 = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
    facts |= {"oid": git_id(pointer), "lfs": {"oid": sha256, "size": len(data), "pointerSize": len(pointer)}}
    known = xet.hashes(hub.xet) if hub.xet is not None else {}
    return facts | ({"xetHash": known[sha256]} if sha256 in known else {})


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
