"""The loopback Hub, tried with the real client: what the tests of push and pull stand on."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback.hub import Fault, Hub, serving

START = """
import json, os, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
api, here = HfApi(), Path(sys.argv[1])

def add(*names):
    return [CommitOperationAdd(name, here / name) for name in names]

def status(call, *args, **options):
    try:
        call(*args, **options)
    except HfHubHTTPError as error:
        return error.response.status_code
    return 200

def say(**facts):
    print(json.dumps(facts))

"""


def start(hub: Hub, folder: Path, script: str, **environment: str) -> subprocess.Popen[str]:
    """Start a script with the real client in a process of its own."""
    folder.mkdir(exist_ok=True)
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": hub.token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", START + script, str(folder)],
        env=os.environ | settings | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def client(hub: Hub, folder: Path, script: str, **environment: str) -> dict[str, Any]:
    """Run a script as `start` does; return what it says last."""
    process = start(hub, folder, script, **environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def data(size: int) -> bytes:
    """Return bytes that neither repeat nor shrink."""
    return hashlib.shake_256(b"%d" % size).digest(size)


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_a_repository_from_its_creation_to_its_download(tmp_path: Path) -> None:
    small, weights = data(1000), data(3000)
    (tmp_path / "config.json").write_bytes(small)
    (tmp_path / "model.safetensors").write_bytes(weights)
    script = """
url = api.create_repo("me/new", private=True)
again = status(api.create_repo, "me/new")
head = api.model_info("me/new").sha
done = api.create_commit("me/new", add("config.json", "model.safetensors"), commit_message="both", parent_commit=head)
stale = status(api.create_commit, "me/new", add("config.json"), commit_message="x", parent_commit=head)
(here / "config.json").write_bytes(b"other")
late = status(api.create_commit, "me/new", add("config.json"), commit_message="x", parent_commit=head)
tree = {f.path: (f.size, f.blob_id, f.lfs and f.lfs.sha256) for f in api.list_repo_tree("me/new", revision=done.oid)}
[file] = api.get_paths_info("me/new", ["config.json"], revision=done.oid)
assert (file.size, file.blob_id) == tuple(tree["config.json"][:2])
api.create_branch("me/new", branch="a/b", revision=head)
api.create_tag("me/new", tag="v1", revision=done.oid)
taken = status(api.create_branch, "me/new", branch="v1")
on_branch = api.create_commit("me/new", add("config.json"), commit_message="y", revision="a/b").oid
gone = api.create_commit("me/new", [CommitOperationDelete("config.json")], commit_message="z").oid
snapshot = Path(snapshot_download("me/new", revision="v1"))
other = Path(hf_hub_download("me/new", "config.json", revision="a/b")).read_text()
refs = api.list_repo_refs("me/new")
api.update_repo_settings("me/new", visibility="public")
say(again=again, stale=stale, late=late, taken=taken, tree=tree, other=other, head=head, done=done.oid,
    on_branch=on_branch, gone=gone, files={p.name: p.read_bytes().hex() for p in snapshot.iterdir()},
    branches=sorted(r.name for r in refs.branches), tags=[r.name for r in refs.tags])
"""
    with serving(Hub()) as hub:
        said = client(hub, tmp_path, script)
    assert (said["again"], said["late"], said["taken"]) == (409, 412, 409)
    assert said["stale"] == 200  # nothing has changed: the client sends no commit
    sha256 = hashlib.sha256(weights).hexdigest()
    assert said["tree"]["config.json"] == [1000, git_id(small), None]
    assert said["tree"]["model.safetensors"][::2] == [3000, sha256]
    assert said["files"]["config.json"] == small.hex() and said["files"]["model.safetensors"] == weights.hex()
    assert said["other"] == "other"
    assert hub.objects == {sha256: weights}  # the small file is git's
    assert hub.history("me/new") == [said["gone"], said["done"], said["head"]]
    assert hub.history("me/new", "a/b") == [said["on_branch"], said["head"]]
    assert hub.messages[said["done"]] == "both"
    assert sorted(hub.files("me/new")) == [".gitattributes", "model.safetensors"]
    assert (said["branches"], said["tags"]) == (["a/b", "main"], ["v1"])
    assert not hub.private
    assert hub.token not in repr(hub.received)


def test_a_large_file_comes_up_in_parts_and_down_in_ranges(tmp_path: Path) -> None:
    whole = data(3 * 2**20 + 5)
    (tmp_path / "big.bin").write_bytes(whole)
    script = """
api.create_repo("me/new")
oid = api.upload_file(path_or_fileobj=here / "big.bin", path_in_repo="big.bin", repo_id="me/new").oid
from huggingface_hub import HfFileSystem
tail = HfFileSystem().read_bytes(f"me/new@{oid}/big.bin", start=3 * 2**20, end=3 * 2**20 + 4)
say(tail=tail.hex(), same=Path(hf_hub_download("me/new", "big.bin")).read_bytes() == (here / "big.bin").read_bytes())
"""
    with serving(Hub(large=2**20, part=2**20)) as hub:
        said = client(hub, tmp_path, script)
    assert said["same"]
    assert said["tail"] == whole[-5:-1].hex()
    assert hub.files("me/new")["big.bin"] == whole
    parts = [request.rpartition("/")[2] for request in hub.requests if request.startswith("PUT /_objects/")]
    assert parts == ["1", "2", "3", "4"]


def test_who_may_do_what(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    tries = """
say(me=status(api.whoami), create=status(api.create_repo, "me/new"), public=status(api.model_info, "me/public"),
    private=status(api.model_info, "me/private"), nothing=status(api.model_info, "me/nothing"),
    commit=status(api.create_commit, "me/public", add("config.json"), commit_message="x"),
    theirs=status(api.create_commit, "other/model", add("config.json"), commit_message="x"),
    space=status(api.create_repo, "other/new"))
"""
    with serving(Hub(forbidden={"other"})) as hub:
        for name in ("me/public", "me/private", "other/model"):
            hub.put(name, {"a": b"1"})
        hub.private.add("me/private")
        wrong = client(hub, tmp_path, tries, HF_TOKEN="hf_wrong")
        assert set(wrong.values()) == {401}
        assert len(hub.commits) == 3
        script = tries.replace("status(api.whoami)", "0")  # the client refuses to ask without a token
        none = client(hub, tmp_path, script, HF_TOKEN="", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
        assert (none["public"], none["private"], none["nothing"]) == (200, 404, 404)
        assert (none["create"], none["commit"]) == (401, 401)
        right = client(hub, tmp_path, tries)
    assert (right["me"], right["create"], right["commit"], right["private"]) == (200, 200, 200, 200)
    assert (right["nothing"], right["theirs"], right["space"]) == (404, 403, 403)


def test_faults_are_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(data(100))
    script = """
def push():
    (here / "config.json").write_bytes(os.urandom(8))
    try:
        return api.create_commit("me/new", add("config.json", "model.safetensors"), commit_message="x").oid
    except HfHubHTTPError as error:
        return [error.response.status_code, error.response.headers.get("Retry-After")]
    except Exception as error:
        return type(error).__name__

refused, lost, done = push(), push(), push()
file = Path(hf_hub_download("me/new", "model.safetensors")).read_bytes()
say(refused=refused, lost=lost, done=done, flipped=file.hex())
"""
    with serving(Hub()) as hub:
        first = hub.put("me/new", {"a": b"1"})
        between = Fault("POST .*/commit/", lost=True, before=lambda: hub.put("me/new", {"b": b"2"}, message="theirs"))
        hub.faults = [
            Fault("PUT /_objects/", status=503),
            Fault("POST .*/commit/", status=429, headers={"Retry-After": "7"}),
            between,
            Fault("GET .*/resolve/main/model.safetensors", flip=True),
        ]
        said = client(hub, tmp_path, script)
    assert said["refused"] == [429, "7"]
    assert said["lost"] == "RemoteProtocolError"
    done, lost, theirs, *rest = hub.history("me/new")
    assert rest == [first] and hub.messages[theirs] == "theirs" and done == said["done"]
    assert {"b", "config.json", "model.safetensors"} == set(hub.commits[lost])  # what was asked for is done
    assert sum(request.startswith("PUT /_objects/") for request in hub.requests) == 2  # the client tried again
    sent = data(100)
    assert said["flipped"] == (sent[:-1] + bytes([sent[-1] ^ 1])).hex()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_client_is_held_in_the_middle_and_killed(tmp_path: Path, way: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(data(2**20))
    up = 'api.create_commit("me/new", add("model.safetensors"), commit_message="x")'
    script = (up if way == "up" else 'hf_hub_download("me/new", "model.safetensors")') + "\nsay(done=True)\n"
    with serving(Hub()) as hub:
        hub.put("me/new", {"model.safetensors": data(2**20)} if way == "down" else {})
        held = Fault("PUT /_objects/" if way == "up" else "GET .*/resolve/", hold=True)
        hub.faults.append(held)
        process = start(hub, tmp_path, script)
        assert held.reached.wait(30)
        process.kill()
        assert process.communicate()[0] == ""
        held.go.set()
        assert not hub.objects and len(hub.commits) == 1
        assert client(hub, tmp_path, script) == {"done": True}
        assert len(hub.commits) == (2 if way == "up" else 1)


@pytest.mark.xet
def test_the_real_xet_client(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(data(300_000))
    script = """
api.create_repo("me/new")
oid = api.create_commit("me/new", add("model.safetensors"), commit_message="x").oid
[file] = api.get_paths_info("me/new", ["model.safetensors"])
path = Path(hf_hub_download("me/new", "model.safetensors", revision=oid))
say(sha256=file.lfs.sha256, size=file.size, xet=file.xet_hash, same=path.read_bytes().hex())
"""
    (tmp_path / "store").mkdir()
    with serving(Hub(xet=tmp_path / "store")) as hub:
        said = client(hub, tmp_path, script, HF_HUB_DISABLE_XET="0")
    whole = data(300_000)
    assert said["same"] == whole.hex() and hub.files("me/new")["model.safetensors"] == whole
    assert (said["sha256"], said["size"]) == (hashlib.sha256(whole).hexdigest(), 300_000)
    assert said["xet"] != said["sha256"]
    assert not hub.objects and not any(r.startswith(("PUT /_objects", "GET /me/new/resolve")) for r in hub.requests)
