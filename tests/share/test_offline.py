"""Without a network every way to a hub ends in one line, soon, and the clients' own retries and logs are not seen."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import packages
import pytest
from loopback import github
from loopback.stranger import ROOT, checkout

from hubft.base import network
from hubft.base.errors import FamilyError
from hubft.publish import hub

REFUSED = "http://127.0.0.1:9"  # the discard port
COMMIT = "1" * 40
WAYS = """
import json, sys, time
import timm, torchvision
from hubft.base import network
from hubft.families import plugins
from hubft.share import load, transfer
network.PATIENCE = 1.0
def base(family, name):
    plugins.manager(family).hook.load(name=name, pretrained=True, config={}, task="")
ways = {
    "load": lambda: load.load("me/flowers"),
    "pinned": lambda: load.load("me/flowers@" + 40 * "1"),
    "pull": lambda: transfer.pull("me/flowers"),
    "push": lambda: transfer.push("package", "me/flowers"),
    "timm": lambda: base("timm", "test_vit"),
    "torchvision": lambda: base("torchvision", "resnet18"),
    "hub": lambda: base("hub", "me/nets:small"),
    "hub pinned": lambda: base("hub", "me/nets@v1:small"),
}
for way, call in ways.items():
    began = time.perf_counter()
    try:
        call()
    except Exception as error:
        print(json.dumps([way, type(error).__name__, str(error), time.perf_counter() - began]))
"""


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["refused", "silent", "no name"])
def test_every_way_in_is_answered_soon_in_one_line(kind: str, silent: str, tmp_path: Path, toy_site: Path) -> None:
    packages.write(tmp_path / "package", packages.toy_job())
    nowhere = {"refused": REFUSED, "silent": silent, "no name": "http://nowhere.invalid"}[kind]
    environment = {
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT"), nowhere),
        "HF_HUB_OFFLINE": "0",
        "no_proxy": "",
        "HF_TOKEN": "hf_good",
        "PYTHONPATH": f"{ROOT}:{toy_site}",
        "HF_HOME": str(tmp_path / "hf"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "PATH": "",
    }
    command = [sys.executable, "-c", WAYS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    answers = {way: (error, said, seconds) for way, error, said, seconds in map(json.loads, done.stdout.splitlines())}
    assert len(answers) == 8 and done.stderr == ""
    for way, (error, said, seconds) in answers.items():
        assert error == ("FamilyError" if way.startswith(("t", "hub")) else "HubError"), said
        assert "cannot be reached" in said and "\n" not in said
        assert seconds < 10, way  # five tries of the client alone wait 23


def test_github_without_an_answer_leaves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hubft.families import plugins

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(network, "unreachable", lambda url: "github.com cannot be reached (silence)")
    kept = tmp_path / "hub" / "me_nets_main"
    kept.mkdir(parents=True)
    code = "from torch import nn\ndef small():\n    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), %s)\n"
    (kept / "hubconf.py").write_text(code % "nn.Linear(3, 2)")
    pm = plugins.manager("hub")
    assert pm.hook.load(name="me/nets:small", pretrained=False, config={}, task="").head == "2"
    with pytest.raises(FamilyError, match=r"silence\), and me/others is not in the cache of torch.hub"):
        pm.hook.load(name="me/others:small", pretrained=False, config={}, task="")


def test_whatever_a_server_says_it_was_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = github.GitHub("org/nets", branches={"main": COMMIT}, commits={COMMIT: checkout()})
    with github.serving(repository, tmp_path):
        for name, value in repository.environment.items():
            monkeypatch.setenv(name, value)
        assert network.unreachable("https://github.com/org/nets") == ""  # 501: it knows no HEAD
    monkeypatch.setenv("https_proxy", REFUSED)
    assert "github.com cannot be reached (" in network.unreachable("https://github.com/org/nets")


def test_a_call_is_waited_for_as_long_as_was_said() -> None:
    assert network.within(60, lambda: 5) == 5
    with pytest.raises(KeyError, match="x"):
        network.within(60, lambda: {}["x"])
    never, began = threading.Event(), time.perf_counter()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 seconds"):
        network.within(0.1, never.wait)
    never.set()
    assert time.perf_counter() - began < 30


def test_the_client_can_be_given_more_patience(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", silent)
    for name, seconds in (("HF_HUB_ETAG_TIMEOUT", 1), ("DEFAULT_ETAG_TIMEOUT", 2)):
        monkeypatch.setattr(constants, name, seconds)
    with pytest.raises((OSError, httpx2.TimeoutException)) as caught:
        hub.info("me/flowers")
    assert "the Hub cannot be reached" in str(hub.explained(caught.value, "me/flowers"))
