"""What every test shares: no network, one thread, and the family `toy`, also in processes that a test starts."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from environments import installed

os.environ["HF_HUB_OFFLINE"] = "1"  # read at the import of huggingface_hub, so before any test module
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("HF_TOKEN", None)  # a Hub on the loopback refuses every token but its own

HERE = Path(__file__).parent

pytest_plugins = ["commands"]  # the fixture `hubft`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longest: at the end no process waits for one of them."""

    def longest_first(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return -marker.args[0] if marker else 0.0

    items.sort(key=longest_first)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Features and timings are kept for one test session, not in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBFT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path in which the family `toy` is installed, as pip would leave it."""
    site = tmp_path_factory.mktemp("site")
    with installed(site, "toy", HERE / "toy_family.py"):
        yield site


@pytest.fixture
def vit(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference to a small ViT of timm, with weights that are there."""
    import nets  # not at the top: few tests need it

    nets.made_up_weights(monkeypatch, tmp_path_factory.mktemp("weights"))
    return "timm:test_vit"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the process that makes those of a `terminal.Terminal`, and of `python`."""
    from terminal import commands  # not at the top: few tests need it

    modules = ("hubft.share.transfer", "torchvision", "matplotlib.pyplot")
    with commands(tmp_path_factory.mktemp("server"), *modules) as address:
        yield address


@pytest.fixture(scope="session")
def executable(server: str) -> str:
    """The Python whose programs have imported the libraries already."""
    return forked.executable(server)


@pytest.fixture(scope="session")
def python(server: str) -> forked.Python:
    """`python WORD...` in a process of its own, which has imported the libraries already."""
    return functools.partial(forked.python, server)
