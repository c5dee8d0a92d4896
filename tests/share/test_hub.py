"""Packages from the Hub: the real client, in a process of its own, against a Hub on the loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import packages
import pytest
from loopback.hub import Hub, serving

from hubft.base.errors import HubError, PackageError
from hubft.publish import hub as fetching

LOAD = """
import json, sys
from hubft.base.errors import HubftError
from hubft.share.load import load
for source in sys.argv[1:]:
    try:
        model = load(source)
        print(json.dumps({"classes": model.hubft["classes"], "bias": model.head.bias.tolist()}))
    except HubftError as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub()) as running:
        packages.write(tmp_path / "first", packages.toy_job())
        (tmp_path / "first" / "pictures.zip").write_bytes(b"not of the package")
        running.commit("me/toys", tmp_path / "first")
        yield running


def load(hub: Hub, cache: Path, *sources: str) -> list[dict[str, object]]:
    """Load each source in one fresh process; return what it gave, or the error."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    hub.requests.clear()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, *sources], env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_branch_and_commit_and_the_cache(hub: Hub, tmp_path: Path) -> None:
    first = hub.refs["me/toys"]["main"]
    packages.write(tmp_path / "second", packages.toy_job(), classes=("x", "y", "z"))
    second = hub.commit("me/toys", tmp_path / "second", "v2")
    cache = tmp_path / "cache"
    sources = ("me/toys", f"me/toys@{first}", "me/toys@v2", f"me/toys@{second}")
    loaded = load(hub, cache, *sources)
    assert [one["classes"] for one in loaded] == [["ant", "bee", "cat"]] * 2 + [["x", "y", "z"]] * 2
    assert not any("pictures.zip" in request for request in hub.requests)
    again = load(hub, cache, f"me/toys@{first}", f"me/toys@{second}")
    assert again == [loaded[1], loaded[3]]
    assert not hub.requests  # a pinned commit in the cache is never asked about


def test_what_is_not_there_is_said_in_one_line(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    hub.commit("me/other", tmp_path / "empty")
    sources = ("me/nothing", "me/toys@v9", f"me/toys@{'0' * 40}", "me/other")
    errors = [one["error"] for one in load(hub, tmp_path / "cache", *sources)]
    for error, words in zip(
        errors,
        ("no repository me/nothing", "no revision 'v9'", "no revision '000", "me/other is no package"),
        strict=True,
    ):
        assert isinstance(error, str) and error.startswith(("HubError: ", "PackageError: "))
        assert words in error and "\n" not in error


def test_an_altered_download_is_refused(hub: Hub, tmp_path: Path) -> None:
    files = hub.commits[hub.refs["me/toys"]["main"]]
    weights = bytearray(files["model.safetensors"])
    weights[-1] ^= 1
    files["model.safetensors"] = bytes(weights)
    [one] = load(hub, tmp_path / "cache", "me/toys")
    assert "model.safetensors was altered" in str(one["error"])


def test_without_the_hub_the_cache_serves(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    [online] = load(hub, cache, "me/toys")
    gone = Hub(url="http://127.0.0.1:9")  # the discard port: refused
    assert load(gone, cache, "me/toys", f"me/toys@{hub.refs['me/toys']['main']}") == [online, online]
    [other] = load(gone, cache, "me/other")
    assert "the Hub cannot be reached, and me/other is not in its cache" in str(other["error"])


@pytest.mark.parametrize("source", ["nothing", "a/b/c", "me/toys@", "../x/y", "me/to ys", "https://x/y"])
def test_what_is_neither_folder_nor_repository(source: str) -> None:
    with pytest.raises(PackageError, match=r"neither a folder nor|give one revision|cannot be had|is a URL"):
        fetching.fetch(source)


def test_two_revisions_are_refused() -> None:
    with pytest.raises(PackageError, match="give one revision, once"):
        fetching.fetch("me/toys@v1", "v2")


def test_offline_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="Hub cannot be reached, and me/never-seen is not in its cache"):
        fetching.fetch("me/never-seen")
