"""Four processes that load the same thing at once, none of them with anything in its caches."""

import json
import threading
from pathlib import Path

import packages
import pytest
import torch
from loopback import github, hub
from loopback.stranger import ROOT, checkout, site, start

from hubft import hub_lock

PROCESSES = 4
LOGITS = """
import json, torch
print("\\n" + json.dumps(model(torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32))[0].tolist()))
"""


def together(codes: list[str], paths: list[Path], cwd: Path, environment: dict[str, str]) -> list[list[float]]:
    """Return the logits that each of these programs prints; they run at once and share cwd/torch."""
    processes = [start(code + LOGITS, paths, cwd, environment) for code in codes]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(codes), [error[-800:] for _, error in ended]
    return [json.loads(output.splitlines()[-1]) for output, _ in ended]


def test_under_the_lock_one_process_downloads_from_github_and_all_load(tmp_path: Path, toy_site: Path) -> None:
    """Half of them have hubft and take its lock, half have not and take the same by the lines in its docstring."""
    packages.write(tmp_path / "p", packages.toy_job())
    tip = "b" * 40
    repository = github.GitHub("org/hubft", branches={"main": tip}, commits={tip: checkout()}, pause=0.5)
    load = 'model = torch.hub.load("org/hubft", "finetuned", "p", trust_repo=True)'
    with_hubft = f"import sys, torch\nsys.path.append({str(ROOT)!r})\nimport hubft\nwith hubft.hub_lock():\n    {load}"
    without = f'import filelock, torch\nwith filelock.FileLock(torch.hub.get_dir() + "/hubft.lock"):\n    {load}'
    with github.serving(repository, tmp_path):
        codes = [with_hubft, without] * (PROCESSES // 2)
        logits = together(codes, [site(tmp_path / "bare"), toy_site], tmp_path, repository.environment)
    assert repository.downloads == 1
    assert logits == [logits[0]] * PROCESSES


def test_the_family_hub_fetches_under_the_lock(tmp_path: Path) -> None:
    hubconf = b"""
from torch import nn

def tiny():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    nn.init.constant_(model[2].weight, 0.5), nn.init.zeros_(model[2].bias)
    return model
"""
    tip = "b" * 40
    repository = github.GitHub("org/tiny", branches={"main": tip}, commits={tip: {"hubconf.py": hubconf}}, pause=0.5)
    code = """
from hubft import Job
from hubft.families import plugins
from hubft.families.build import load_base
model = load_base(plugins.manager("hub"), Job("hub:org/tiny:tiny", "-"), True).model
"""
    with github.serving(repository, tmp_path):
        logits = together([code] * 2, [site(tmp_path / "bare"), ROOT], tmp_path, repository.environment)
    assert repository.downloads == 1
    assert logits == [logits[0]] * 2


def test_from_the_hub_one_package_is_loaded_by_all(tmp_path: Path, toy_site: Path) -> None:
    """`finetuned` of a checkout on this disk: what it downloads, the Hub's client and hubft guard by themselves."""
    trained = packages.write(tmp_path / "p", packages.toy_job())
    with hub.serving(hub.Hub()) as running:
        running.commit("me/toys", tmp_path / "p")
        environment = {"HF_ENDPOINT": running.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        code = f'import torch\nmodel = torch.hub.load({str(ROOT)!r}, "finetuned", "me/toys", source="local")'
        logits = together([code] * PROCESSES, [site(tmp_path / "bare"), toy_site], tmp_path, environment)
    with torch.inference_mode():
        expected = trained(torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32))[0].tolist()
    assert logits == [expected] * PROCESSES


def test_the_lock_is_taken_again_by_its_thread_and_by_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    order = []

    def other() -> None:
        with hub_lock():
            order.append("other")

    thread = threading.Thread(target=other)
    with hub_lock():
        thread.start()
        with hub_lock():  # a package of the family hub, which fetches a repository of its own
            thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_folder_that_cannot_be_written_is_used_without_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with hub_lock():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
