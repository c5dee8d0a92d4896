"""Shards that a server has: read by ranges of bytes, known by their ETag, of the Hub at one commit."""

import functools
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from loopback.hub import Fault, Hub, serving
from shards import labelled, opened, png, read, refusal, write

from hubft.base.errors import DataError
from hubft.data import shard

NAME = "me/birds"


@pytest.fixture(autouse=True)
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with a data set of three shards, which also serves as any server does that knows ranges."""
    for i in range(2):
        write(tmp_path / f"made/in/train-{i:06d}.tar", labelled(range(4 * i, 4 * i + 4)))
    write(tmp_path / "made/in/val-000000.tar", labelled(range(8, 10)))
    (tmp_path / "made/README.md").write_text("birds")
    with serving(Hub(token="hf_good")) as running:
        running.commit(NAME, tmp_path / "made")
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running


def web(hub: Hub, name: str) -> str:
    return f"{hub.url}/{NAME}/resolve/main/in/{name}"


def fetched(hub: Hub) -> int:
    return sum(request.startswith("GET ") and "/resolve/" in request for request in hub.requests)


def test_shards_of_a_server_are_read_by_ranges(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    data = web(hub, "{train-000000,train-000001,val-000000}.tar")
    rows = read(data)
    assert {part: len(found) for part, found in rows.parts.items()} == {"train": 8, "val": 2}
    places = [row.place for part in ("train", "val") for row in rows.parts[part]]
    assert places[4] == "train-000001.tar#0004"
    asked = fetched(hub)
    assert [opened(rows, place) for place in places[::-1]] == [png(seed) for seed in range(9, -1, -1)]
    assert fetched(hub) == asked + 10, "one request a picture"
    copy = pickle.loads(pickle.dumps(rows.source))
    assert copy.open(places[4]).getvalue() == png(4)
    asked = fetched(hub)
    assert read(data).parts == rows.parts and fetched(hub) == asked + 3, "what lies in them is known by their ETags"


def test_a_long_shard_is_read_a_piece_at_a_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "AHEAD", 2048)
    rows = read(web(hub, "train-000001.tar"))
    assert [row.place for row in rows.parts["train"]] == [f"train-000001.tar#{i:04d}" for i in range(4, 8)]
    assert 3 < fetched(hub) < 20


def test_a_data_set_of_the_hub_is_read_at_one_commit(hub: Hub, tmp_path: Path) -> None:
    rows = read(f"hf://datasets/{NAME}")
    assert {part: len(found) for part, found in rows.parts.items()} == {"train": 8, "val": 2}
    some = read(f"hf://datasets/{NAME}@main/in/train-{{000000..000001}}.tar")
    assert len(some.parts["train"]) == 8 and "val" not in some.parts
    assert len(read(f"hf://datasets/{NAME}/in").parts["val"]) == 2
    write(tmp_path / "made/in/train-000000.tar", labelled(range(20, 24)))
    hub.commit(NAME, tmp_path / "made")
    assert opened(rows, "train-000000.tar#0000") == png(0), "of the commit that was read"
    assert opened(read(f"hf://datasets/{NAME}"), "train-000000.tar#0020") == png(20)


def test_a_private_data_set_is_asked_for_with_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private.add(NAME)
    assert "cannot be read" in refusal(f"hf://datasets/{NAME}")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    rows = read(f"hf://datasets/{NAME}")
    assert opened(rows, "val-000000.tar#0008") == png(8)
    assert "cannot be read" in refusal(web(hub, "val-000000.tar")), "the token is the Hub's alone"


def test_a_shard_that_changes_on_its_server_is_told(hub: Hub, tmp_path: Path) -> None:
    rows = read(web(hub, "train-000000.tar"))
    write(tmp_path / "made/in/train-000000.tar", labelled(range(20, 24)))
    hub.commit(NAME, tmp_path / "made")
    with pytest.raises(DataError, match="is not the file any more that was indexed"):
        rows.source.open("train-000000.tar#0000")
    assert opened(read(web(hub, "train-000000.tar")), "train-000000.tar#0020") == png(20)


def test_a_server_that_is_busy_is_asked_again(hub: Hub) -> None:
    rows = read(web(hub, "train-000000.tar"))
    hub.faults.append(Fault("GET .*/resolve/", status=503))
    assert opened(rows, "train-000000.tar#0001") == png(1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("hf://datasets/me/birds/in/test-0.tar", "has no 'in/test-0.tar'"),
        ("hf://datasets/me/birds/out", "holds no .tar files"),
        ("hf://datasets/me/bees", "cannot be read"),
        ("hf://datasets/me", "hf://datasets/owner/name"),
        ("{url}/me/birds/resolve/main/in/test.tar", "cannot be read"),
        ("http://me:secret@127.0.0.1/a.tar", "no password"),
        ("https://example.com/a?key=x.tar", "no password and no query"),
        ("http://127.0.0.1:9/a.tar", "127.0.0.1:9 cannot be reached"),
        ("{url}/me/birds/resolve/main/in/a.zip", "is a URL: download it first"),
    ],
)
def test_what_is_not_there_is_told(hub: Hub, data: str, said: str) -> None:
    assert said in refusal(data.format(url=hub.url))


def test_a_server_that_gives_no_ranges_is_told(tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    write(tmp_path / "in/a.tar", labelled(range(2)))
    handler = functools.partial(Quiet, directory=str(tmp_path / "in"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert "gives no parts of files" in refusal(f"http://127.0.0.1:{server.server_port}/a.tar")
        server.shutdown()


def test_without_the_network_it_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline mode" in refusal(web(hub, "train-000000.tar"))
