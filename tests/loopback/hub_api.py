"""What the loopback Hub answers: one function a route, learned from what the client sends and expects."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loopback import xet

if TYPE_CHECKING:
    from loopback.hub import Files, Hub


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
    for method, pattern, write, function in ROUTES:
        match = pattern.fullmatch(request.path)
        if method != request.method or not match:
            continue
        named = {key: urllib.parse.unquote(value) for key, value in match.groupdict().items()}
        if write and not request.token:
            return error(401, "Invalid username or password.")
        repo = named.get("repo", "")
        if repo and (repo not in hub.refs or (repo in hub.private and not request.token)):
            return error(404, "Repository not found", "RepoNotFound")
        if write and repo.partition("/")[0] in hub.forbidden:
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


# ---------------------------------------------------------------------------------------- who, and which repositories


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Answer:
    if not request.token:
        return error(401, "Invalid username or password.")
    return reply({"type": "user", "name": hub.user, "orgs": [], "auth": {"accessToken": {"role": "write"}}})


@route("POST", "/api/repos/create", write=True)
def create(hub: Hub, request: Request) -> Answer:
    wanted = request.json()
    owner = wanted.get("organization") or hub.user
    repo = f"{owner}/{wanted['name']}"
    if owner in hub.forbidden:
        return error(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
    if repo in hub.refs:
        return error(409, "You already created this model repo", url=f"{hub.url}/{repo}")
    if wanted.get("visibility") == "private":
        hub.private.add(repo)
    hub.put(repo, {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, message="initial commit")
    return reply({"url": f"{hub.url}/{repo}", "id": repo, "name": repo})


@route("PUT", "/api/models/{repo}/settings", write=True)
def settings(hub: Hub, request: Request, repo: str) -> Answer:
    visibility = request.json().get("visibility")
    if visibility == "private":
        hub.private.add(repo)
    elif visibility == "public":
        hub.private.discard(repo)
    return reply({})


@route("POST", "/api/models/{repo}/branch/{branch}", write=True)
def branch(hub: Hub, request: Request, repo: str, branch: str) -> Answer:
    return _new_ref(hub, repo, branch, request.json().get("startingPoint", "main"))


@route("POST", "/api/models/{repo}/tag/{revision}", write=True)
def tag(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    name = request.json()["tag"]
    done = _new_ref(hub, repo, name, revision)
    if done.status == 200:
        hub.tags.add((repo, name))
    return done


def _new_ref(hub: Hub, repo: str, name: str, start: str) -> Answer:
    sha = hub.resolve(repo, start)
    if sha is None:
        return no_revision(start)
    if name in hub.refs[repo]:
        return error(409, "Reference already exists")
    hub.refs[repo][name] = sha
    return reply({})


# ------------------------------------------------------------------------------------------------------------- upload


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: Hub, request: Request) -> Answer:
    return reply({"errors": [], "warnings": []})


@route("POST", "/api/models/{repo}/preupload/{revision}", write=True)
def preupload(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    there = hub.commits[sha]
    modes = []
    for file in request.json()["files"]:
        path = file["path"]
        mode = "lfs" if hub.is_large(path, file["size"]) else "regular"
        oid = _entry(hub, path, there[path]) if path in there else {}
        known = oid.get("lfs", {}).get("oid") or oid.get("oid")
        modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known})
    return reply({"files": modes, "commitOid": sha})


@route("POST", "/{repo}.git/info/lfs/objects/batch", write=True)
def lfs_batch(hub: Hub, request: Request, repo: str) -> Answer:
    objects = []
    for wanted in request.json()["objects"]:
        href = f"{hub.url}/_objects/{wanted['oid']}"
        count = -(-wanted["size"] // hub.part) if hub.part else 1
        parts = {"chunk_size": str(hub.part), **{str(n): f"{href}/{n}" for n in range(1, count + 1)}}
        upload = {"href": href, "header": parts if count > 1 else {}}
        actions = {"upload": upload, "verify": {"href": f"{hub.url}/api/models/{repo}/lfs-verify"}}
        objects.append({**wanted, **({} if wanted["oid"] in hub.objects else {"actions": actions})})
    return reply({"transfer": "basic", "objects": objects})


@route("PUT", "/_objects/{sha256}")
def put_object(hub: Hub, request: Request, sha256: str) -> Answer:
    return _keep(hub, sha256, request.body)


@route("PUT", "/_objects/{sha256}/{number}")
def put_part(hub: Hub, request: Request, sha256: str, number: str) -> Answer:
    hub.objects[f"{sha256}/{number}"] = request.body
    return Answer(b"", headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@route("POST", "/_objects/{sha256}")
def join_parts(hub: Hub, request: Request, sha256: str) -> Answer:
    numbers = [part["partNumber"] for part in request.json()["parts"]]
    return _keep(hub, sha256, b"".join(hub.objects.pop(f"{sha256}/{number}") for number in numbers))


def _keep(hub: Hub, sha256: str, data: bytes) -> Answer:
    if hashlib.sha256(data).hexdigest() != sha256:
        return error(400, "other bytes than announced")
    hub.objects[sha256] = data
    return reply({})


@route("POST", "/api/models/{repo}/lfs-verify", write=True)
def lfs_verify(hub: Hub, request: Request, repo: str) -> Answer:
    return reply({}) if request.json()["oid"] in hub.objects else error(404, "no such object")


@route("GET", "/api/models/{repo}/xet-write-token/{revision}", write=True)
@route("GET", "/api/models/{repo}/xet-read-token/{revision}")
def xet_token(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    if hub.xet is None:
        return error(404, "no xet here")
    url, key, end = f"local://{hub.xet}", "for-xet-only", 2**33
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": key, "X-Xet-Token-Expiration": str(end)}
    return reply({"casUrl": url, "accessToken": key, "exp": end}, **headers)


@route("POST", "/api/models/{repo}/commit/{branch}", write=True)
def commit(hub: Hub, request: Request, repo: str, branch: str) -> Answer:
    head = hub.refs[repo].get(branch)
    if head is None or (repo, branch) in hub.tags:
        return no_revision(branch)
    header, *changes = [json.loads(line) for line in request.body.splitlines()]
    if header["value"].get("parentCommit", head) != head:
        return error(412, "A commit has happened since. Please refresh and try again.")
    files = dict(hub.commits[head])
    for change in changes:
        problem = _change(hub, files, change["key"], change["value"])
        if problem:
            return problem
    sha = hub.put(repo, files, branch, header["value"]["summary"])
    return reply({"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{repo}/commit/{sha}", "hookOutput": ""})


def _change(hub: Hub, files: Files, key: str, value: dict[str, Any]) -> Answer | None:
    path = value["path"]
    if key == "file":
        files[path] = base64.b64decode(value["content"])
    elif key == "lfsFile":
        data = hub.objects.get(value["oid"])
        if data is None and hub.xet is not None:
            data = xet.read(hub.xet, value["oid"])
        if data is None:
            return error(400, f"{path}: the large file {value['oid']} has not come up")
        files[path] = data
    elif key == "deletedFile":
        if path not in files:
            return error(404, "A file with this name doesn't exist", "EntryNotFound")
        del files[path]
    else:
        return error(400, f"what is {key}?")
    return None


# --------------------------------------------------------------------------------------------------------------- read


@route("GET", "/api/models/{repo}")
@route("GET", "/api/models/{repo}/revision/{revision}")
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
    return reply([_entry(hub, path, data) for path, data in hub.commits[sha].items()])


@route("POST", "/api/models/{repo}/paths-info/{revision}")
def paths_info(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    wanted = urllib.parse.parse_qs(request.body.decode())["paths"]
    return reply([_entry(hub, path, data) for path, data in hub.commits[sha].items() if path in wanted])


@route("GET", "/{repo}/resolve/{revision}/{path}")
def resolve(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Answer:
    sha = hub.resolve(repo, revision)
    if sha is None:
        return no_revision(revision)
    data = hub.commits[sha].get(path)
    if data is None:
        missing = error(404, "Entry not found", "EntryNotFound")
        return Answer(missing.body, missing.status, {**missing.headers, "X-Repo-Commit": sha})
    entry = _entry(hub, path, data)
    headers = {"X-Repo-Commit": sha, "ETag": f'"{entry["oid"]}"', "Accept-Ranges": "bytes"}
    if "lfs" in entry:
        headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(data))}
    if "xetHash" in entry:
        link = f'<{hub.url}/api/models/{repo}/xet-read-token/{sha}>; rel="xet-auth"'
        headers |= {"X-Xet-Hash": entry["xetHash"], "Link": link}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not asked:
        return Answer(data, headers=headers)
    start, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
    headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
    return Answer(data[start : last + 1], 206, headers)


def _entry(hub: Hub, path: str, data: bytes) -> dict[str, Any]:
    """Return a file's line in a tree: its git id, and where it is large its sha256; git then has but a pointer."""
    facts: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
    if not hub.is_large(path, len(data)):
        return {**facts, "oid": _git_id(data)}
    sha256 = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
    facts |= {"oid": _git_id(pointer), "lfs": {"oid": sha256, "size": len(data), "pointerSize": len(pointer)}}
    known = xet.hashes(hub.xet) if hub.xet is not None else {}
    return facts | ({"xetHash": known[sha256]} if sha256 in known else {})


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
