"""What the loopback Hub takes: repositories, refs, large files, commits; learned from what the client sends."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from loopback import xet
from loopback.hub_api import SPACE, Answer, Request, error, no_revision, reply, route
from loopback.hub_read import entry

if TYPE_CHECKING:
    from loopback.hub import Files, Hub


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Answer:
    if not request.token:
        return error(401, "Invalid username or password.")
    return reply({"type": "user", "name": hub.user, "orgs": [], "auth": {"accessToken": {"role": "write"}}})


@route("POST", "/api/repos/create", write=True)
def create(hub: Hub, request: Request) -> Answer:
    wanted = request.json()
    owner = wanted.get("organization") or hub.user
    kind = SPACE if wanted.get("type") == "space" else ""
    repo = f"{kind}{owner}/{wanted['name']}"
    if owner in hub.forbidden:
        return error(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
    if repo in hub.refs:
        return error(409, "You already created this repo", url=f"{hub.url}/{repo.replace(SPACE, 'spaces/')}")
    if wanted.get("visibility") == "private":
        hub.private.add(repo)
    hub.put(repo, {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, message="initial commit")
    plain = repo.removeprefix(SPACE)
    return reply({"url": f"{hub.url}/{'spaces/' if kind else ''}{plain}", "id": plain, "name": plain})


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
        oid = entry(hub, path, there[path]) if path in there else {}
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
    return reply(
        {
            "success": True,
            "commitOid": sha,
            "commitUrl": f"{hub.url}/{repo.replace(SPACE, 'spaces/')}/commit/{sha}",
            "hookOutput": "",
        }
    )


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
