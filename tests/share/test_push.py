"""`hubft push` at a terminal: the real client, in a process of its own, against a Hub on the loopback that can fail."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import packages
import pytest
from loopback.hub import Fault, Hub, serving
from terminal import TOKEN, Ran, Terminal

from hubft import Base
from hubft.publish import package

COMMIT = "POST .*/commit/"
DATA = "PUT /_objects/"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of a run, and the same as a delta."""
    folder = tmp_path_factory.mktemp("made")
    packages.write(folder / "full" / "package", packages.toy_job())
    packages.write(folder / "delta" / "package", packages.toy_job(package="delta"))
    return folder


@pytest.fixture
def user(made: Path, tmp_path: Path, server: str) -> Iterator[Terminal]:
    with serving(Hub(token=TOKEN)) as hub:
        one = Terminal(hub, tmp_path, server)
        shutil.copytree(made / "full" / "package", one.work / "run" / "package")
        yield one


@pytest.fixture
def untouched(user: Terminal) -> Iterator[None]:
    """Whatever happens to a push, what lies on the user's disk is as it was, and still a package."""
    before = user.on_disk()
    yield
    assert user.on_disk() == before
    package.read(user.work / "run" / "package")


def put_down(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_first_push_and_the_second(user: Terminal, untouched: None) -> None:
    revision = user.fresh("-m", "hubft", "push", "run", "me/toys").revision
    hub = user.hub
    assert hub.private == {"me/toys"}
    head, initial = hub.history("me/toys")
    assert (head, hub.messages[initial]) == (revision, "initial commit")
    assert hub.messages[head].startswith("toy:small fine-tuned on mine: accuracy 90.0 %")
    files = hub.files("me/toys")
    assert sorted(files) == [".gitattributes", *sorted(p.name for p in (user.work / "run" / "package").iterdir())]
    assert files["model.safetensors"] == (user.work / "run" / "package" / "model.safetensors").read_bytes()
    package.read(put_down(files, user.folder / "as-it-lies-there"))
    assert b'"me/toys' in files["README.md"]  # how to load it from there
    hub.requests.clear()
    again = user.run("push", "run/package", "me/toys", "--message", "the same")
    assert again.revision == revision
    assert hub.history("me/toys") == [head, initial]
    assert not [request for request in hub.requests if not request.startswith("GET ")]


def test_only_the_package_goes_up_and_what_it_no_longer_has_goes_away(user: Terminal, made: Path) -> None:
    hub, work = user.hub, user.work
    shutil.copytree(made / "delta" / "package", work / "delta")
    for name in ("notes.txt", ".env", "optimizer.safetensors"):
        (work / "run" / "package" / name).write_text("not for everyone")
        (work / "delta" / name).write_text("not for everyone")
    before = user.on_disk()
    first = user.run("push", "delta", "me/toys")
    second = user.run("push", "run", "me/toys", "--message", "all of it")
    assert hub.history("me/toys")[:2] == [second.revision, first.revision]
    ours = {"README.md", "hubft.json", "selftest.safetensors"}
    assert set(hub.commits[first.revision]) == {".gitattributes", "delta.safetensors", *ours}
    assert set(hub.commits[second.revision]) == {".gitattributes", "model.safetensors", *ours}
    assert hub.messages[second.revision] == "all of it"
    assert b"not for everyone" not in b"".join([*hub.received, *hub.objects.values()])
    assert user.on_disk() == before


def test_a_commit_that_fails_on_the_way_is_settled_by_looking(user: Terminal, untouched: None) -> None:
    hub = user.hub
    hub.faults = [
        Fault("me/busy/commit/", status=503),
        Fault("me/limited/commit/", status=429, headers={"Retry-After": "2"}),
        Fault("me/cut/commit/", status=500, lost=True),  # before anything is done
        Fault("me/done/commit/", lost=True),  # it is done, and nobody says so
    ]
    for name in ("me/busy", "me/limited", "me/cut", "me/done"):
        revision = user.run("push", "run", name).revision
        assert hub.history(name)[:-1] == [revision]
        tries = sum(request == f"POST /api/models/{name}/commit/main" for request in hub.requests)
        assert tries == (1 if name == "me/done" else 2)


def test_a_hub_that_asks_for_patience_is_not_pressed(user: Terminal, untouched: None) -> None:
    user.hub.faults = [Fault(COMMIT, times=9, status=429, headers={"Retry-After": "1000"})]
    error = user.run("push", "run", "me/toys").error
    assert "nothing is lost" in error and "the same command again" in error
    assert sum("/commit/" in request for request in user.hub.requests) == 1
    user.hub.faults.clear()
    revision = user.run("push", "run", "me/toys").revision
    assert user.hub.history("me/toys")[0] == revision


def test_somebody_else_commits_in_between(user: Terminal, untouched: None) -> None:
    hub = user.hub
    ours = hub.commits[user.run("push", "run", "me/toys").revision]
    old = {**ours, "model.safetensors": b"of last week"}
    hub.put("me/toys", old)
    theirs = {**old, "README.md": b"mine"}
    hub.faults = [Fault(COMMIT, before=lambda: hub.put("me/toys", theirs, message="theirs"))]
    conflict = user.run("push", "run", "me/toys")
    head = hub.history("me/toys")[0]
    assert hub.messages[head] == "theirs"
    assert f"me/toys changed while the package was sent: its main is now commit {head}" in conflict.error
    again = user.run("push", "run", "me/toys")
    assert hub.history("me/toys")[:2] == [again.revision, head]
    assert hub.commits[again.revision] == ours


def test_somebody_else_commits_the_very_same(user: Terminal, untouched: None) -> None:
    hub = user.hub
    ours = hub.commits[user.run("push", "run", "me/toys").revision]
    hub.put("me/toys", {**ours, "model.safetensors": b"of last week"})
    hub.faults = [Fault(COMMIT, before=lambda: hub.put("me/toys", ours, message="theirs"))]
    revision = user.run("push", "run", "me/toys").revision
    assert hub.messages[revision] == "theirs"
    assert hub.history("me/toys")[0] == revision


@pytest.mark.parametrize("file", ["README.md", "model.safetensors"])
def test_a_hub_that_stored_other_bytes_is_noticed(user: Terminal, untouched: None, file: str) -> None:
    def alter() -> None:
        files = user.hub.files("me/toys")
        files[file] = files[file][:-1] + bytes([files[file][-1] ^ 1])

    user.hub.faults = [Fault(COMMIT, after=alter)]
    error = user.run("push", "run", "me/toys").error
    assert f"me/toys@{user.hub.history('me/toys')[0]} holds other bytes than were sent" in error


def test_what_cannot_be_published_is_refused_before_any_request(user: Terminal) -> None:
    work, whole = user.work, user.work / "run" / "package"
    shutil.copytree(whole, work / "flipped")
    weights = bytearray((whole / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (work / "flipped" / "model.safetensors").write_bytes(weights)
    (work / "unfinished" / "checkpoints").mkdir(parents=True)
    base = Base("hub:/srv/models/repo:small")
    packages.write(work / "mine", packages.toy_job(), base=base)
    before = user.on_disk()
    cases = {
        "model.safetensors was altered": ["flipped", "me/toys"],
        "is no package": ["unfinished", "me/toys"],
        "'nothing-here'": ["nothing-here", "me/toys"],
        "'toys' is no repository": ["run", "toys"],
        "'a/b/c' is no repository": ["run", "a/b/c"],
        "'../toys' is no repository": ["run", "../toys"],
        "'me/to ys' is no repository": ["run", "me/to ys"],
        "a commit cannot be pushed to": ["run", "me/toys", "--revision", 40 * "a"],
        "nobody else could load": ["mine", "me/toys"],
    }
    for words, arguments in cases.items():
        error = user.run("push", *arguments).error
        assert words in error
        assert "/srv/models" not in error
    assert not user.hub.requests
    assert user.on_disk() == before


def test_a_package_that_is_altered_while_it_is_pushed_is_not_published_as_if_it_were_whole(user: Terminal) -> None:
    weights = user.work / "run" / "package" / "model.safetensors"

    def alter() -> None:
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    user.hub.faults = [Fault("GET /api/models/me/toys", before=alter)]
    assert "holds other bytes than were sent" in user.run("push", "run", "me/toys").error


def test_a_repository_with_something_else_is_left_alone(user: Terminal, untouched: None) -> None:
    hub = user.hub
    card = {".gitattributes": b"*.safetensors filter=lfs\n", "README.md": b"# to come\n"}
    theirs = hub.put("me/theirs", {**card, "config.json": b"{}", "pytorch_model.bin": b"weights"})
    hub.put("me/empty", card)
    refused = user.run("push", "run", "me/theirs")
    assert "me/theirs holds something that is no package of hubft" in refused.error
    fine = user.run("push", "run", "me/empty")
    assert hub.history("me/theirs") == [theirs]
    assert not [r for r in hub.requests if "me/theirs" in r and not r.startswith("GET ")]
    assert hub.history("me/empty")[0] == fine.revision
    assert hub.files("me/empty")[".gitattributes"] == card[".gitattributes"]


def test_503_while_data_goes_up(user: Terminal, untouched: None) -> None:
    user.hub.faults = [Fault(DATA, times=2, status=503)]
    revision = user.run("push", "run", "me/toys").revision
    assert user.hub.history("me/toys")[:-1] == [revision]
    assert sum(request.startswith(DATA) for request in user.hub.requests) == 4  # two files, two of them twice


def test_no_right_to_push(user: Terminal, untouched: None) -> None:
    hub = user.hub
    hub.put("me/old", {"README.md": b""})
    hub.forbidden = {"them"}
    assert "hf auth login" in user.run("push", "run", "them/toys").error
    for token in ("hf_wrong", ""):
        other = user.but(HF_TOKEN=token)
        for name in ("me/toys", "me/old"):
            error = other.run("push", "run", name).error
            assert "hf auth login" in error
            assert not token or token not in error
    assert set(hub.refs) == {"me/old"} and len(hub.commits) == 1 and not hub.objects


def test_a_hub_that_echoes_the_token_is_not_quoted(user: Terminal, untouched: None) -> None:
    said = f"no luck with {TOKEN} of {user.environment['HOME']}"
    user.hub.faults = [Fault("GET /api/models/me/toys", status=400, headers={"X-Error-Message": said})]
    assert "no luck with ***" in user.run("push", "run", "me/toys").error


def test_the_hub_is_gone(user: Terminal, untouched: None) -> None:
    hub = user.hub
    gone = user.but(HF_ENDPOINT="http://127.0.0.1:9")  # the discard port: refused
    error = gone.run("push", "run", "me/toys").error
    assert "nothing is lost" in error and "the same command again" in error

    def fall() -> None:
        hub.faults.append(Fault("", times=99, status=500, lost=True))

    hub.faults = [Fault(COMMIT, status=500, lost=True, before=fall)]
    error = user.run("push", "run", "me/toys").error
    assert "nothing is lost" in error and "the same command again" in error
    assert len(hub.history("me/toys")) == 1
    hub.faults.clear()
    hub.requests.clear()
    revision = user.run("push", "run", "me/toys").revision
    assert hub.history("me/toys")[:-1] == [revision]
    assert not [r for r in hub.requests if r.startswith(DATA)]  # what had arrived is not sent twice


def test_killed_in_the_middle_of_the_data(user: Terminal, untouched: None) -> None:
    hub = user.hub
    held = Fault(DATA, hold=True)
    hub.faults = [held]
    begun = user.start("push", "run", "me/toys")
    assert held.reached.wait(60)
    os.kill(begun.process, signal.SIGKILL)
    assert user.finish(begun) == Ran(-signal.SIGKILL, "", "")
    held.go.set()
    assert set(hub.files("me/toys")) == {".gitattributes"}
    for left in user.temporary.iterdir():  # SIGKILL leaves no time to clean up
        shutil.rmtree(left)
    revision = user.run("push", "run", "me/toys").revision
    assert hub.history("me/toys")[:-1] == [revision]


def test_who_can_see_it(user: Terminal, untouched: None) -> None:
    hub = user.hub
    hub.put("me/open", {})
    hub.put("me/closed", {})
    hub.put("me/left", {})
    hub.private = {"me/closed", "me/left"}
    seen: dict[str, bool] = {}

    def look(name: str) -> Fault:
        return Fault(f"{name}/commit/", before=lambda: seen.update({name: name in hub.private}))

    names = ("me/new", "me/open", "me/closed", "me/left")
    hub.faults = [look(name) for name in names]
    flags = (["--public"], ["--private"], ["--public"], [])
    ran = [user.run("push", "run", name, *flag) for name, flag in zip(names, flags, strict=True)]
    assert hub.private == {"me/open", "me/left"}
    # Closed before anything goes up; opened when what is there was looked at.
    assert seen == {"me/new": False, "me/open": True, "me/closed": True, "me/left": True}
    assert [", public" in one.out for one in ran] == [True, False, True, False]
    assert [hub.history(name)[0] for name in names] == [one.revision for one in ran]


def test_what_is_not_as_it_should_be_is_not_opened(user: Terminal, untouched: None) -> None:
    user.hub.put("me/toys", {})
    user.hub.private = {"me/toys"}
    user.hub.faults = [Fault(COMMIT, after=lambda: user.hub.files("me/toys").update({"README.md": b"other"}))]
    assert "holds other bytes" in user.run("push", "run", "me/toys", "--public").error
    assert user.hub.private == {"me/toys"}


def test_a_branch(user: Terminal, untouched: None) -> None:
    hub = user.hub
    first = user.run("push", "run", "me/toys", "--revision", "tries/2").revision
    assert user.run("push", "run", "me/toys", "--revision", "tries/2").revision == first
    assert hub.history("me/toys", "tries/2")[0] == first
    assert set(hub.files("me/toys")) == {".gitattributes"}


def test_large_weights_go_up_in_parts(user: Terminal, untouched: None) -> None:
    user.hub.part = 8192
    revision = user.run("push", "run", "me/toys").revision
    assert user.hub.history("me/toys")[0] == revision
    numbers = [request.rpartition("/")[2] for request in user.hub.requests if request.startswith(DATA)]
    assert "3" in numbers  # 22 kB of weights


@pytest.mark.xet
def test_xet(user: Terminal, untouched: None) -> None:
    user.hub.xet = user.folder / "store"
    user.hub.xet.mkdir()
    revision = user.but(HF_HUB_DISABLE_XET="0").run("push", "run", "me/toys").revision
    weights = user.hub.commits[revision]["model.safetensors"]
    assert weights == (user.work / "run" / "package" / "model.safetensors").read_bytes()
    assert not user.hub.objects and not [r for r in user.hub.requests if r.startswith(DATA)]


LOGITS = """
import hashlib, sys, torch
for source in sys.argv[2:]:
    model = torch.hub.load(sys.argv[1], "finetuned", source, source="local")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    print(hashlib.sha256(model(images).detach().numpy().tobytes()).hexdigest())
"""


def test_what_was_pushed_loads_through_torch_hub_with_the_same_logits(user: Terminal, untouched: None) -> None:
    revision = user.run("push", "run", "me/toys").revision
    ran = user.fresh("-c", LOGITS, str(ROOT), "run", f"me/toys@{revision}")
    assert ran.code == 0, ran.err
    here, there = ran.out.splitlines()
    assert here == there
