"""An organisation's own repository, from its first commit to a stranger's `torch.hub.load`, by the commands."""

import inspect
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import packages
import pytest
import rich.console
import torch
from commands import exit_code
from loopback import github, hub
from loopback.stranger import ROOT, checkout, files, run, site
from torch import nn

from hubft.base import digest
from hubft.base.errors import HubftError
from hubft.cli import main
from hubft.publish import package
from hubft.share import catalogue, organisation
from hubft.share.catalogue import Entry

IMAGE = "torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32)"
KILLED = "import os; from hubft.share import catalogue; catalogue.write = lambda *_: os._exit(9); "
"""Of a process that dies after the push, before the entry is written."""


Ended = Callable[..., tuple[object, str, str]]


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ended:
    """The command in this process: its exit code, and what it printed."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # main sets it where it is not set
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(main.app, "console", rich.console.Console())

    def run(*arguments: object) -> tuple[object, str, str]:
        return exit_code(*arguments), *capsys.readouterr()

    return run


@pytest.fixture
def running() -> Iterator[hub.Hub]:
    with hub.serving(hub.Hub()) as running:
        yield running


def environment(running: hub.Hub, home: Path) -> dict[str, str]:
    """Return what a process needs to go to the loopback Hub, with a cache of its own."""
    facts = {"HF_ENDPOINT": running.url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0", "COLUMNS": "300"}
    return facts | {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": running.token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def hubft(running: hub.Hub, cwd: Path, *arguments: object, first: str = "") -> subprocess.CompletedProcess[str]:
    """Return the command's end, run in `cwd` with a process of its own, in which `first` is run first."""
    code = f"{first}import sys; from hubft.cli import main as cli; sys.argv[0] = 'hubft'; cli.main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment(running, cwd), text=True, capture_output=True)


def logits(model: nn.Module) -> list[float]:
    with torch.inference_mode():
        found: list[float] = model(torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32))[0].tolist()
        return found


def served(repository: github.GitHub, code: str, paths: list[Path], cwd: Path, running: hub.Hub) -> str:
    """Return the last line that a stranger's process prints, with the repository on `GitHub`."""
    with github.serving(repository, cwd):
        output = run(code, paths, cwd, repository.environment | environment(running, cwd))
    return output.splitlines()[-1]


def test_publish_and_load_from_a_new_repository(running: hub.Hub, tmp_path: Path, toy_site: Path) -> None:
    """Begun, published to, killed in between, published again, committed, and loaded elsewhere with hubft installed."""
    trained = packages.write(tmp_path / "run" / "package", packages.toy_job())
    begun = hubft(running, tmp_path, "init-hub", "models")
    assert begun.returncode == 0 and "hubft publish RUN --as NAME" in begun.stdout, begun.stderr
    before = files(tmp_path / "models")
    assert before.keys() == {"hubconf.py", "catalogue.json", "README.md"}
    arguments = ("publish", "run", "--as", "toys", "--to", "me/toys", "--hub", "models")
    assert hubft(running, tmp_path, *arguments, first=KILLED).returncode == 9
    pushed = running.refs["me/toys"]["main"]
    assert files(tmp_path / "models") == before
    again = hubft(running, tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert "nobody else can load it until you type: hubft push run me/toys --public" in again.stdout
    entry = catalogue.find("toys", tmp_path / "models" / "catalogue.json")
    assert entry.hub == f"me/toys@{pushed}" and running.refs["me/toys"]["main"] == pushed
    words = "toy:small fine-tuned on mine: ant, bee, cat. Accuracy 90.0 % (95 % interval 80.0 to 95.0 %, 40 images)."
    assert entry.description == words and entry.reference == "toy:small"
    assert hubft(running, tmp_path / "models", "catalogue").stdout.count(entry.hub) == 1

    tip = "b" * 40
    repository = github.GitHub("me/models", branches={"main": tip}, commits={tip: files(tmp_path / "models")})
    code = f"""
import json, torch
found = [torch.hub.list("me/models", trust_repo=True), torch.hub.help("me/models", "toys")]
model = torch.hub.load("me/models", "toys")
assert not model.training and model.hubft["classes"] == ["ant", "bee", "cat"] and model.preprocess is not None
same = torch.hub.load("me/models", "finetuned", "me/toys@{pushed}")
base = torch.hub.load("me/models", "toys", pretrained=False, num_classes=7)
image = {IMAGE}
print("\\n" + json.dumps([*found, model(image)[0].tolist(), same(image)[0].tolist(), base(image).shape[1]]))
"""
    paths = [site(tmp_path / "bare"), toy_site, ROOT]
    listed, helped, *given, width = json.loads(served(repository, code, paths, tmp_path, running))
    assert listed == ["finetuned", "toys"] and words in helped
    assert given == [logits(trained)] * 2 and width == 7


def test_publish_and_load_from_a_checkout_of_hubft(running: hub.Hub, tmp_path: Path, toy_site: Path) -> None:
    trained = packages.write(tmp_path / "package", packages.toy_job(package="delta"))
    fork = tmp_path / "fork"
    for path, data in checkout().items():
        (fork / path).parent.mkdir(parents=True, exist_ok=True)
        (fork / path).write_bytes(data)
    arguments = ("publish", "../package", "--as", "toys", "--to", "me/toys", "--public", "--description", "My toys.")
    done = hubft(running, fork, *arguments)
    assert done.returncode == 0 and "nobody else" not in done.stdout, done.stderr
    changed = {path for path, data in files(fork).items() if checkout().get(path) != data}
    assert changed == {"hubft/share/catalogue.json"}
    tip = "b" * 40
    repository = github.GitHub("me/hubft", branches={"main": tip}, commits={tip: files(fork)})
    code = f"""
import json, torch
model = torch.hub.load("me/hubft", "toys", trust_repo=True)
print("\\n" + json.dumps(model({IMAGE})[0].tolist()))
"""
    assert json.loads(served(repository, code, [site(tmp_path / "bare"), toy_site], tmp_path, running)) == logits(
        trained
    )


def test_without_hubft_torch_hub_lists_the_entries_and_names_what_is_missing(running: hub.Hub, tmp_path: Path) -> None:
    organisation.init(tmp_path / "models")
    entry = Entry("Toys.", "toy:small", f"me/toys@{'a' * 40}", "b" * 64)
    catalogue.write("toys", entry, tmp_path / "models" / "catalogue.json")
    tip = "b" * 40
    repository = github.GitHub("me/models", branches={"main": tip}, commits={tip: files(tmp_path / "models")})
    code = """
import json, torch
found = [torch.hub.list("me/models", trust_repo=True)]
try:
    torch.hub.load("me/models", "toys")
except RuntimeError as error:
    print("\\n" + json.dumps([*found, str(error)]))
"""
    given = json.loads(served(repository, code, [site(tmp_path / "bare")], tmp_path, running))
    assert given == [["finetuned", "toys"], "Missing dependencies: hubft"]


def test_verify_gives_each_entry_a_row_and_fails_with_one_line(running: hub.Hub, tmp_path: Path) -> None:
    organisation.init(tmp_path / "models")
    file = tmp_path / "models" / "catalogue.json"
    packages.write(tmp_path / "p", packages.toy_job())
    manifest = digest.of_file(tmp_path / "p" / package.MANIFEST)
    sha = running.commit("me/toys", tmp_path / "p")
    packages.write(file.parent / "catalogue" / "beside", packages.toy_job(package="delta"))
    waiting = {"description": "", "reference": "toy:small"}
    pinned = waiting | {"hub": f"me/toys@{sha}", "manifest": manifest}
    records = {
        "other": pinned | {"manifest": "0" * 64},
        "odd": {"reference": 1},
        "gone": pinned | {"hub": f"me/gone@{sha}"},
        "right": pinned,
        "beside": waiting,
        "waiting": waiting,
    }
    file.write_text(json.dumps(records))
    done = hubft(running, tmp_path, "catalogue", "verify", "--hub", "models")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "│"]
    found = dict(lines)
    assert list(found) == list(records)
    assert found["right"] == found["beside"] == "proved, logits differ by 0"
    assert found["waiting"] == "nothing published yet"
    assert "is not the one that was recorded" in found["other"] and "no repository me/gone" in found["gone"]
    assert "catalogue.odd" in found["odd"]
    assert done.returncode == 2
    assert done.stderr == "hubft: 3 of 6 entries cannot be proved: other, odd, gone\n"
    some = hubft(running, file.parent, "catalogue", "verify", "right", "waiting")
    assert some.returncode == 0 and "gone" not in some.stdout, some.stderr


WRONG = [
    (("publish", "run", "--as", "Toys", "--to", "me/toys", "--hub", "models"), "'Toys' cannot name an entry"),
    (("publish", "run", "--as", "finetuned", "--to", "me/toys", "--hub", "models"), "hubconf.py has something"),
    (("publish", "run", "--as", "taken", "--to", "me/toys", "--hub", "models"), "is you/toys@a{40} already"),
    (("publish", "run", "--as", "toys", "--to", "toys", "--hub", "models"), "'toys' is no repository of the Hub"),
    (("publish", "none", "--as", "toys", "--to", "me/toys", "--hub", "models"), "no run or package 'none' here"),
    (("publish", "models", "--as", "toys", "--to", "me/toys", "--hub", "models"), "models is no package"),
    (("publish", "run", "--as", "toys", "--to", "me/toys"), "this folder is no torch.hub repository.*hubft init-hub"),
    (("publish", "run", "--as", "toys", "--to", "me/toys", "--hub", "run"), "run is no torch.hub repository.*--hub"),
    (("publish", "run", "--to", "me/toys", "--hub", "models"), "--as"),
    (("catalogue", "--hub", "run"), "run is no torch.hub repository"),
    (("catalogue", "verify", "--hub", "run"), "run is no torch.hub repository"),
    (("init-hub", "models"), "models is not empty: nothing was written"),
    (("init-hub", "file"), "file is no folder"),
    (("init-hub", "file/models"), "file/models' cannot be written"),
    (("init-hub", "."), "is not empty"),
]
"""Arguments, and what the line on stderr says."""


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_input_gets_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Ended
) -> None:
    organisation.init(tmp_path / "models")
    there = Entry("Taken.", "toy:small", f"you/toys@{'a' * 40}", "b" * 64)
    catalogue.write("taken", there, tmp_path / "models" / "catalogue.json")
    packages.write(tmp_path / "run" / "package", packages.toy_job())
    (tmp_path / "file").write_text("")
    before = files(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, _, errors = ended(*arguments)
    assert code == 2
    assert errors.startswith("hubft: ") and errors.count("\n") == 1
    assert re.search(words, errors), errors
    assert files(tmp_path) == before


def test_outside_of_a_repository_the_catalogue_of_hubft_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Ended
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, _ = ended("catalogue")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line[:1] == "│"]
    assert [row[0] for row in rows] == catalogue.names()
    facts = {row[0]: row[2:] for row in rows}
    assert facts["efficientnet_lite0_ft"] == ["pip:efficientnet_lite0", "catalogue/efficientnet_lite0_ft"]


# --- a new repository -------------------------------------------------------------------------------------------


def test_a_repository_is_made_in_a_folder_that_is_new_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "new one"):
        made = organisation.init(folder)
        assert [path.name for path in made] == ["README.md", "catalogue.json", "hubconf.py"]
        assert catalogue.of(folder) == folder / "catalogue.json" and catalogue.names(folder / "catalogue.json") == []
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "a"}


def test_a_crash_while_it_is_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str, **how: str) -> None:
        if path.name == "hubconf.py":
            raise OSError(28, "No space left on device")
        path.write_bytes(text.encode())

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(HubftError, match="cannot be written: No space left on device"):
        organisation.init(tmp_path / "models")
    assert not list(tmp_path.iterdir())


def test_the_folder_that_one_stands_in_is_not_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubftError, match=r"cd \.\. and name it"):
        organisation.init(Path())
    assert not list(tmp_path.iterdir())


def test_its_files_are_clean_and_its_readme_has_commands_that_are_understood(tmp_path: Path) -> None:
    organisation.init(tmp_path / "models")
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(ROOT / "pyproject.toml"), str(tmp_path / "models")]
    for command in ([*ruff, "check", *settings], [*ruff, "format", "--check", *settings]):
        done = subprocess.run(command, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout
    commands = re.findall(r"^hubft .*$", (tmp_path / "models" / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 3
    for line in commands:
        main.app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_both_hubconfs_have_one_signature(tmp_path: Path) -> None:
    """What `load.entry` and `load.load` take is written in both; this is what holds them together."""
    organisation.init(tmp_path / "models")
    catalogue.write(
        "toys", Entry("", "toy:small", f"me/toys@{'a' * 40}", "b" * 64), tmp_path / "models" / "catalogue.json"
    )
    ours, theirs = (runpy.run_path(str(folder / "hubconf.py")) for folder in (ROOT, tmp_path / "models"))
    for one, other in ((ours["finetuned"], theirs["finetuned"]), (ours["resnet50_ft"], theirs["toys"])):
        a, b = (
            [(p.name, p.default) for p in inspect.signature(function).parameters.values()] for function in (one, other)
        )
        assert a == b
