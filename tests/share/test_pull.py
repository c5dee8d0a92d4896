"""Packages from the Hub at a terminal: `hubft pull`, the cache, and what happens when the way there is bad."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import packages
import pytest
from loopback.hub import Fault, Hub, serving
from terminal import TOKEN, Terminal

from hubft.publish import lines, package

WEIGHTS = "GET /me/toys/resolve/.*/model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "package"
    packages.write(folder, packages.toy_job())
    return folder


@pytest.fixture
def user(made: Path, tmp_path: Path, server: str) -> Iterator[Terminal]:
    with serving(Hub(token=TOKEN)) as hub:
        hub.commit("me/toys", made)
        yield Terminal(hub, tmp_path, server)


def cached(user: Terminal) -> list[Path]:
    """Return the copies of the weights in the cache."""
    weights = user.hub.files("me/toys")["model.safetensors"]
    blobs = (user.folder / "cache" / "hub" / "models--me--toys" / "blobs").iterdir()
    return [blob for blob in blobs if blob.stat().st_size == len(weights)]


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_pull_proves_and_says_how_to_load(user: Terminal) -> None:
    revision = user.hub.history("me/toys")[0]
    ran = user.run("pull", "me/toys")
    assert (ran.code, ran.err) == (0, "")
    assert "toy:small of 3 classes, accuracy 90.0 % (95 % interval 80.0 to 95.0 %, 40 images)" in ran.out
    assert "logits of the self-test differ by 0" in ran.out
    assert f"load     {lines.here(f'me/toys@{revision}', trust=False)}\n" in ran.out
    copy = user.run("pull", f"me/toys@{revision}", "--output", "copies/toys")
    assert copy.code == 0, copy.err
    package.read(user.work / "copies" / "toys")
    assert {f"copies/toys/{name}": data for name, data in user.hub.files("me/toys").items()} == user.on_disk()
    before = user.on_disk()
    assert "'copies/toys' exists" in user.run("pull", "me/toys", "--output", "copies/toys").error
    assert user.on_disk() == before


def test_a_commit_is_asked_about_once_a_branch_every_time(user: Terminal, made: Path) -> None:
    hub, first = user.hub, user.hub.history("me/toys")[0]
    assert user.run("pull", f"me/toys@{first}").code == 0
    hub.requests.clear()
    assert user.run("pull", f"me/toys@{first}").code == 0
    assert not hub.requests
    second = hub.put("me/toys", {**hub.commits[first], "README.md": b"# another card\n"})
    assert f"me/toys@{second}" in user.run("pull", "me/toys").out


def test_without_the_network_the_cache_serves_and_says_so(user: Terminal) -> None:
    revision = user.hub.history("me/toys")[0]
    gone = user.but(HF_ENDPOINT="http://127.0.0.1:9")  # the discard port: refused
    error = gone.run("pull", "me/toys").error
    assert "the Hub cannot be reached, and me/toys is not in its cache" in error
    online = user.run("pull", "me/toys")
    for offline in (gone, user.but(HF_HUB_OFFLINE="1")):
        branch, pinned = offline.run("pull", "me/toys"), offline.run("pull", f"me/toys@{revision}")
        assert branch.out == online.out and pinned.code == 0
        [line] = branch.err.splitlines()
        assert line == f"hubft: the Hub cannot be reached: me/toys is commit {revision} of its cache"
        assert pinned.err == ""
    assert "is not in its cache" in offline.run("pull", f"me/toys@{40 * 'a'}").error
    busy = Fault("GET /api/", times=99, status=503)  # there, and of no use
    user.hub.faults = [busy]
    assert user.run("pull", "me/toys").out == online.out


def test_killed_in_the_middle_of_a_download(user: Terminal) -> None:
    held = Fault(WEIGHTS, hold=True)
    user.hub.faults = [held]
    begun = user.start("pull", "me/toys", "--output", "copy")
    assert held.reached.wait(60)
    os.kill(begun.process, signal.SIGKILL)
    assert user.finish(begun).code == -signal.SIGKILL
    held.go.set()
    assert not user.on_disk() and not cached(user)
    assert user.run("pull", "me/toys", "--output", "copy").code == 0
    package.read(user.work / "copy")


def test_a_download_that_fails_on_the_way(user: Terminal) -> None:
    user.hub.faults = [Fault(WEIGHTS, lost=True)]
    assert user.run("pull", "me/toys").code == 0  # the client asks again
    shutil.rmtree(user.folder / "cache")
    user.hub.faults = [Fault(WEIGHTS, status=503)]
    assert "503" in user.run("pull", "me/toys").error
    assert user.run("pull", "me/toys").code == 0


@pytest.mark.parametrize("pinned", [True, False])
def test_a_flipped_byte_in_the_cache_is_noticed_and_healed(user: Terminal, pinned: bool) -> None:
    hub = user.hub
    source = f"me/toys@{hub.history('me/toys')[0]}" if pinned else "me/toys"
    assert user.run("pull", source).code == 0
    [blob] = cached(user)
    whole = blob.read_bytes()
    flip(blob)
    healed = user.run("pull", source)
    assert healed.code == 0
    assert f"hubft: {source} in the Hub's cache is damaged" in healed.err and "downloading it again" in healed.err
    [blob] = cached(user)
    assert blob.read_bytes() == whole
    assert user.run("pull", source).err == ""


def test_a_flipped_byte_that_cannot_be_healed_is_refused(user: Terminal) -> None:
    assert user.run("pull", "me/toys").code == 0
    [blob] = cached(user)
    flip(blob)
    gone = user.but(HF_ENDPOINT="http://127.0.0.1:9")
    ran = gone.run("pull", "me/toys", "--output", "copy")
    assert (ran.code, ran.out) == (2, "")
    error = ran.err.splitlines()[-1]
    assert "model.safetensors was altered" in error and "cannot be downloaded again" in error
    user.hub.faults = [Fault(WEIGHTS, times=9, flip=True)]
    ran = user.run("pull", "me/toys", "--output", "copy")
    assert (ran.code, ran.out) == (2, "")
    assert "model.safetensors was altered" in ran.err.splitlines()[-1]
    assert not user.on_disk()
    user.hub.faults.clear()
    assert user.run("pull", "me/toys").code == 0


def test_a_byte_that_flips_on_the_way_is_noticed(user: Terminal) -> None:
    user.hub.faults = [Fault(WEIGHTS, flip=True)]
    ran = user.run("pull", "me/toys")
    assert ran.code == 0
    assert "downloading it again" in ran.err
    user.hub.faults = [Fault("GET /me/toys/resolve/.*/hubft.json", flip=True)]
    shutil.rmtree(user.folder / "cache")
    ran = user.run("pull", "me/toys")
    assert ran.code == 0, ran.err
    assert "downloading it again" in ran.err


def test_what_cannot_be_had_is_said_in_one_line(user: Terminal, made: Path) -> None:
    hub = user.hub
    hub.put("me/other", {"config.json": b"{}"})
    hub.commit("me/secret", made)
    hub.private = {"me/secret"}
    shutil.copytree(made, user.work / "mine")
    cases = {
        "no repository me/nothing": ["me/nothing"],
        "no revision 'v9'": ["me/toys@v9"],
        "me/other is no package": ["me/other"],
        "'mine' is a folder here": ["mine"],
        "neither a folder nor a Hub repository": ["../me/toys"],
        "give one revision": ["me/toys@"],
    }
    before = user.on_disk()
    for words, arguments in cases.items():
        assert words in user.run("pull", *arguments, "--output", "copy").error
    assert user.run("pull", "me/secret").code == 0
    shutil.rmtree(user.folder / "cache")
    for token in ("hf_wrong", ""):
        error = user.but(HF_TOKEN=token).run("pull", "me/secret").error
        assert "hf auth login" in error
        assert not token or token not in error
    assert user.on_disk() == before


@pytest.mark.xet
def test_xet(user: Terminal, made: Path) -> None:
    hub = user.hub
    hub.xet = user.folder / "store"
    hub.xet.mkdir()
    shutil.copytree(made, user.work / "mine")
    there = user.but(HF_HUB_DISABLE_XET="0")
    revision = there.run("push", "mine", "me/new").revision
    assert there.run("pull", f"me/new@{revision}", "--output", "copy").code == 0
    package.read(user.work / "copy")
    assert not [r for r in hub.requests if r.startswith("GET /me/new/resolve/") and r.endswith("model.safetensors")]
