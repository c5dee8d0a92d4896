"""`--json`: every command that prints a table gives a program one object instead, and nothing else on stdout."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import packages
import pictures
import pytest
import runs
from commands import Hubft, in_folder
from cyclopts import App
from extras import needs

from hubft.base.console import Console
from hubft.cli import main

TUNE = "insects --epochs 1 --batch-size 12 --device cpu --workers 0 --threads 1"
LINES: dict[str, tuple[str, Callable[[Any], object]]] = {
    "finetune": (f"toy:small {TUNE} --output one", lambda its: its["metrics"]["accuracy"]["n"]),
    "distill": (f"one toy:small {TUNE} --output taught", lambda its: its["beside"]["teacher"]),
    "soup": ("one two --data insects --output mixed", lambda its: its["soup"]),
    "compare": ("one two", lambda its: its["runs"][1]["difference"]["value"] is not None),
    "benchmark": ("one insects --against int8 --seconds 0.1 --output made", lambda its: its["rows"][1]["latency"]),
    "evaluate": ("one insects --predictions told.csv", lambda its: its["accuracy"]["n"] == 12),
    "show": ("one", lambda its: its["facts"]["task"] == "classification" and its["stages"][-1]["parameters"]),
    "data": ("insects --reference toy:small --device cpu --output seen", lambda its: its["parts"]["val"] == 12),
    "features": (
        "toy:small insects --device cpu --classifier knn --output matrix.safetensors",
        lambda its: [one["name"] for one in its["classifiers"]] == ["logistic", "knn"],
    ),
    "rank": ("toy:small insects --device cpu --size 32 --output ranked", lambda its: its["rows"][0]["probe"]["score"]),
    "lr-find": (f"toy:small {TUNE} --steps 10 --output rates", lambda its: its["rates"] and its["suggestion"]),
    "sweep": (
        f"toy:small {TUNE} --over lr=1e-4..1e-2 --trials 2 --output swept",
        lambda its: len(its["trials"]) == 3 and its["next"].startswith("hubft finetune"),
    ),
    "families": ("--verify", lambda its: "load" in {one["name"]: one for one in its["families"]}["toy"]["hooks"]),
    "catalogue": ("", lambda its: its["entries"][0]["description"]),
    "catalogue verify": ("mine", lambda its: its["entries"] == [{"name": "mine", "difference": 0.0, "problem": ""}]),
}
"""Of each command its words, and what its object must hold."""
LINE_BY_LINE = {"predict", "families check"}  # of which one object a line was asked for
NO_TABLE = {
    "demo",
    "try",
    "track",
    "completion",
    "export",
    "report",
    "push",
    "pull",
    "publish",
    "init-hub",
    "families new",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data, two runs and a catalogue of one entry."""
    folder = tmp_path_factory.mktemp("work")
    pictures.folder(folder / "insects")
    for seed, output in enumerate(("one", "two")):
        ran = in_folder(folder, "finetune", "toy:small", *TUNE.split(), "--seed", seed, "--output", output)
        assert ran.code == 0, ran.err
    assert in_folder(folder, "init-hub", "hub").code == 0
    packages.write(folder / "hub" / "catalogue" / "mine", packages.toy_job())
    entry = {"description": "insects", "reference": "toy:small"}
    (folder / "hub" / "catalogue.json").write_text(json.dumps({"mine": entry}))
    yield folder


def named(app: App, before: str = "") -> Iterator[tuple[str, App]]:
    """Yield all commands by their names."""
    for name in app:
        if not name.startswith("-"):
            if app[name].default_command:
                yield f"{before}{name}", app[name]
            yield from named(app[name], f"{before}{name} ")


COMMANDS = dict(named(main.app))


def takes_json(command: App) -> bool:
    return any("--json" in argument.names for argument in command.assemble_argument_collection())


def test_no_command_is_forgotten() -> None:
    assert LINES.keys() | LINE_BY_LINE == {name for name, command in COMMANDS.items() if takes_json(command)}
    assert COMMANDS.keys() - LINES.keys() - LINE_BY_LINE == NO_TABLE


@pytest.mark.parametrize("name", LINES)
def test_stdout_is_one_object_and_nothing_else(name: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in ("finetune", "lr-find", "features", "rank", "distill", "soup", "benchmark", "data", "sweep"):
        monkeypatch.setenv("HUBFT_CACHE", str(work / "cache"))
    if name == "sweep":
        needs("optuna", "sweep")
    words, holds = LINES[name]
    words = words.replace("--output one", "--output again")
    words += " --hub hub" if name.startswith("catalogue") else ""
    ran = in_folder(work, *name.split(), *words.split(), "--json")
    assert ran.code == 0, ran.err
    [line] = ran.out.splitlines()
    assert holds(json.loads(line))
    assert not re.search("[━┃]", ran.err), "no table"
    assert "hubft: " not in ran.err


def test_a_run_that_goes_on(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.killed(runs.job(work / "insects", tmp_path / "run"), 1, monkeypatch)
    done = json.loads(in_folder(tmp_path, "finetune", "--resume", "run", "--json").out)
    assert done["run"] == run.folder.name and done["metrics"]["accuracy"]["n"] == 12


def test_one_batch_that_is_learned(work: Path) -> None:
    ran = in_folder(work, "finetune", "toy:small", *TUNE.split(), "--train", "all", "--overfit-one-batch", "--json")
    assert json.loads(ran.out)["learned"] == (ran.code == 0)


def test_what_is_wrong_leaves_stdout_empty(hubft: Hubft) -> None:
    ran = hubft("benchmark", "nothing", "nowhere", "--json")
    assert (ran.code, ran.out) == (2, "") and ran.err.count("\n") == 1


def test_numbers_that_json_has_not_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).answer({"loss": float("nan"), "ends": (1.0, float("-inf"))})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "ends": [1.0, None]}
    Console().answer({"loss": 1.0})
    assert capsys.readouterr().out == ""


def test_lines_for_people_go_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    console = Console(as_json=True)
    console.say("written  there")
    console.table(["a"], [[1]], title="shown to nobody")
    assert out.getvalue() == "" and err.getvalue() == "written  there\n"
