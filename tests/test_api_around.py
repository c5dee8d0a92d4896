"""The commands before and after a run as functions of Python: each gives and writes what its command writes."""

import csv
import dataclasses
import inspect
import json
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from commands import exit_code, in_folder
from extras import needs
from pyarrow import parquet
from safetensors.torch import load_file
from torch import Tensor

import hubft
from hubft import HubftError, Job, api
from hubft.base.errors import CheckpointError, JobError
from hubft.base.serialize import to_dict
from hubft.cli import choosing, data, reports, soup

MACHINE = {"device": "cpu", "workers": 0, "threads": 1}
TYPED = ("--device", "cpu", "--workers", "0", "--threads", "1")
COMMANDS = {
    "inspect_data": data.look,
    "features": data.features,
    "rank": choosing.rank,
    "lr_find": choosing.lr_find,
    "sweep": choosing.sweep,
    "soup": soup.soup,
    "write_report": reports.report,
    "compare": reports.compare,
    "track": reports.track,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with a copy, a leak and a picture that cannot be read."""
    root = pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=12, val=6)
    whole = (root / "train" / "bees" / "0.png").read_bytes()
    (root / "train" / "bees" / "copy.png").write_bytes(whole)
    (root / "val" / "bees" / "leak.png").write_bytes(whole)
    (root / "train" / "ants" / "cut.png").write_bytes(whole[:20])
    return root


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs by two seeds that learned all layers."""
    root = tmp_path_factory.mktemp("runs")
    options: Any = {"epochs": 1, "lr": 0.02, "batch_size": 16, "train": "all", "quiet": True, **MACHINE}
    return [hubft.finetune("toy:small", images, seed=seed, output=root / str(seed), **options).run for seed in (0, 1)]


def typed(folder: Path, *words: object) -> str:
    """Return what a command prints that ends well."""
    ran = in_folder(folder, *words)
    assert ran.code == 0, ran.err
    return ran.out


def table(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


# --- names and defaults -----------------------------------------------------------------------------------------


def test_no_function_is_called_as_a_room() -> None:
    """Importing a module of that name would put it in the function's place."""
    assert not {one.name for one in pkgutil.iter_modules(hubft.__path__)} & set(hubft.__all__)
    assert not {one.name for one in pkgutil.iter_modules(api.__path__)} & set(api.__all__)


def taken(command: Any) -> dict[str, Any]:
    """Return what a command takes by name, with its default; instead of parts of a job, their fields."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(command)
    for name, one in inspect.signature(command).parameters.items():
        parts = [its for its in (hints[name], *typing.get_args(hints[name])) if dataclasses.is_dataclass(its)]
        if name == "words":
            found |= dict.fromkeys(("references", "data"), one.empty)
        elif parts == [Job]:
            found |= dict.fromkeys(("reference", "data"), one.empty)
            found |= {name: field.default for name, (_, field) in api.fields()}
        elif parts:
            found |= {field.name: field.default for field in dataclasses.fields(parts[0]) if field.name != "outputs"}
        elif name != "as_json":  # which is about printing
            found[name] = one.default
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_function_has_the_names_and_defaults_of_its_command(name: str) -> None:
    def plain(value: Any) -> Any:
        return "" if value in (None, (), Path()) else value

    stated = {one.name: one.default for one in inspect.signature(getattr(hubft, name)).parameters.values()}
    stated.pop("quiet", None)
    wanted = taken(COMMANDS[name])
    assert {name: plain(value) for name, value in stated.items()} == {n: plain(v) for n, v in wanted.items()}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rank toy:small nowhere", "'nowhere' is no folder"),
        ("rank toy:small . --epochs 0", "--epochs 0: must be 1 or more"),
        ("lr-find toy:small nowhere", "'nowhere' is no folder"),
        ("sweep toy:small nowhere --over lr=1e-5..1e-3", "'nowhere' is no folder"),
        ("sweep toy:small . --over lr=1..0", "an empty range"),
        ("data nowhere", "'nowhere' is no folder"),
        ("features toy:small . -o a.npy", "--output 'a.npy': must be a new file that ends in .safetensors"),
        ("features toy:small . -o none/a.safetensors", "must be a file in a folder that is there"),
        ("compare nowhere", "'nowhere' is no run"),
        ("track nowhere --to tensorboard", "'nowhere' is no run"),
        ("soup nowhere --data .", "a soup is made of two packages or more: hubft soup nowhere OTHER --data ."),
    ],
)
def test_what_is_wrong_is_told_before_torch_is_imported(tmp_path: Path, line: str, said: str) -> None:
    if line.startswith("sweep"):
        needs("optuna", "sweep")
    command = [sys.executable, "-X", "importtime", "-m", "hubft", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    *imported, last = done.stderr.splitlines()
    assert done.returncode == 2 and said in last
    assert "torch" not in {name.rpartition("|")[2].strip() for name in imported}


# --- before a run -----------------------------------------------------------------------------------------------


def test_a_rank_is_that_of_the_command(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: Any = {"output": tmp_path / "a", "size": 32, "quiet": True, **MACHINE}
    found = hubft.rank(["toy:remote", "toy:small"], str(images), **asked)
    assert capsys.readouterr().out == "" and found.folder == tmp_path / "a"
    assert [row.reference for row in found.rows] == ["toy:small", "toy:remote"] and found.rows[1].failure
    typed(tmp_path, "rank", "toy:remote", "toy:small", images, "--output", "b", "--size", 32, *TYPED)
    ours, theirs = (table(tmp_path / name, "rank.json") for name in "ab")
    assert found.next == ours["next"] and f"{images} --device cpu" in found.next
    for rows in (ours["rows"], theirs["rows"], written := [to_dict(row) for row in found.rows]):
        for row in rows:
            del row["latency"], row["features"]  # these are times
    assert json.loads(json.dumps(written)) == sorted(ours["rows"], key=lambda row: row["reference"], reverse=True)
    assert ours == theirs and ours["rows"][0]["probe"]["score"]["n"] == 19


def test_a_rank_takes_patterns_and_refuses_what_a_rank_has_not(images: Path, tmp_path: Path) -> None:
    asked: Any = {"output": tmp_path / "rank", "quiet": True}
    with pytest.raises(HubftError, match="none of the 4 models of pip is called so"):
        hubft.rank((), images, every="pip:resnet*", **asked)
    with pytest.raises(HubftError, match=r"unknown family 'tomi'"):
        hubft.rank("tomi:small", images, **asked)
    with pytest.raises(JobError, match="there is no option 'lr'"):
        hubft.rank("toy:small", images, lr=0.1, **asked)
    with pytest.raises(JobError, match="epochs 0: must be 1 or more"):
        hubft.rank("toy:small", images, epochs=0, **asked)
    with pytest.raises(JobError, match="budget 'soon': must be a time"):
        hubft.rank("toy:small", images, budget="soon", **asked)
    assert not (tmp_path / "rank").exists()


def test_a_budget_is_spent_on_fine_tunes(images: Path, tmp_path: Path) -> None:
    asked: Any = {"output": tmp_path / "rank", "size": 32, "epochs": 1, "quiet": True, **MACHINE}
    found = hubft.rank("toy:small", images, budget="60s", **asked)
    [tuned] = found.rows[0].rounds
    assert tuned.whole and (Path(tuned.package) / "hubft.json").is_file() and found.facts["budget"] == "60s"


def half(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs, targets) / 2


def test_a_range_test_is_that_of_the_command(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: Any = {"epochs": 2, "batch_size": 16, "steps": 20, "quiet": True, **MACHINE}
    found = hubft.lr_find("toy:small", images, output=tmp_path / "a", **asked)
    assert capsys.readouterr().out == "" and found.folder == tmp_path / "a"
    words = ("--epochs", 2, "--batch-size", 16, "--steps", 20, *TYPED, "--output", "b")
    printed = typed(tmp_path, "lr-find", "toy:small", images, *words)
    ours, theirs = (table(tmp_path / name, "lr-find.json") for name in "ab")
    assert ours == theirs == found.curve.plain() and 0 < found.suggestion == ours["suggestion"]
    assert f"next     {found.next}" in printed.splitlines() and (tmp_path / "a" / "lr-find.png").is_file()
    with pytest.raises(JobError, match="exists: give another output"):
        hubft.lr_find("toy:small", images, output=tmp_path / "a", **asked)
    own = hubft.lr_find("toy:small", images, loss=half, output=tmp_path / "c", **asked)
    assert own.curve.losses[0] == pytest.approx(found.curve.losses[0] / 2, rel=0.1), "a callable is the loss"


def test_a_sweep_is_that_of_the_command(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("optuna", "sweep")
    over: Any = ["lr=1e-3..0.1", "batch_size=8,16"]
    asked: Any = {"over": over, "trials": 2, "epochs": 1, "size": 32, "quiet": True, **MACHINE}
    found = hubft.sweep("toy:small", images, output=tmp_path / "a", **asked)
    assert capsys.readouterr().out == "" and found.folder == tmp_path / "a" and found.validation and found.package
    words = ("--over", over[0], "--over", over[1], "--trials", 2, "--epochs", 1, "--size", 32, *TYPED)
    printed = typed(tmp_path, "sweep", "toy:small", images, *words, "--output", "b")
    ours, theirs = (table(tmp_path / name, "sweep.json") for name in "ab")
    assert ours == json.loads(json.dumps(found.plain())) and f"winner   {found.next}" in printed.splitlines()
    for one in (ours, theirs):
        del one["package"]
        for row in one["trials"]:
            del row["seconds"]
    assert ours == theirs and len(found.rows) == 3
    with pytest.raises(JobError, match="does not go through seed"):
        hubft.sweep("toy:small", images, over="seed=1,2", output=tmp_path / "c")
    own = hubft.sweep("toy:small", images, output=tmp_path / "c", **{**asked, "trials": 1}, loss=half)
    assert own.rows[0].done.score, "a callable is the loss"


def test_a_look_at_data_is_that_of_the_command(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = hubft.inspect_data(images, reference="toy:small", device="cpu", output=tmp_path / "a")
    assert capsys.readouterr().out == "" and found.folder == tmp_path / "a"
    typed(tmp_path, "data", images, "--reference", "toy:small", "--device", "cpu", "--output", "b")
    for name in ("findings.csv", "data.json", "contact.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert table(tmp_path / "a", "data.json") == json.loads(json.dumps(found.facts))
    with (tmp_path / "a" / "findings.csv").open(encoding="utf-8", newline="") as file:
        lines = [(line["place"], line["part"], line["finding"]) for line in csv.DictReader(file)]
    assert lines == [(one.place, one.part, one.finding) for one in found.findings]
    assert {("val/bees/leak.png", "val", "leak"), ("train/ants/cut.png", "", "quarantined")} <= set(lines)
    with pytest.raises(JobError, match="exists: give another output"):
        hubft.inspect_data(images, output=tmp_path / "a")
    with pytest.raises(JobError, match="there is no option 'epochs'"):
        hubft.inspect_data(images, epochs=1, output=tmp_path / "c")  # type: ignore[call-arg]
    with pytest.raises(HubftError, match=r"unknown family 'tomi'"):
        hubft.inspect_data(images, reference="tomi:small", output=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_features_are_those_of_the_command(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: Any = {"output": tmp_path / "a.safetensors", "device": "cpu"}
    found = hubft.features("toy:small", images, classifier=["knn", "centroid"], **asked)
    assert capsys.readouterr().out == "" and found.matrix == tmp_path / "a.safetensors"
    words = ("-o", "b.safetensors", "--device", "cpu", "--classifier", "knn,centroid")
    printed = typed(tmp_path, "features", "toy:small", images, *words)
    ours, theirs = (load_file(tmp_path / f"{name}.safetensors")["features"] for name in "ab")
    assert torch.equal(ours, theirs) and ours.shape == (found.rows, found.width) == (56, 32)
    rows = parquet.read_table(found.table).to_pylist()
    assert rows == parquet.read_table(tmp_path / "b.parquet").to_pylist() and len(rows) == 56
    assert [one.name for one in found.classifiers] == ["logistic", "knn", "centroid"]
    for one in found.classifiers:
        row = next(line for line in printed.splitlines() if f" {one.name} " in line)
        assert str(one.metrics.head) in row and str(one.difference or "-") in row
    with pytest.raises(JobError, match=r"^output '.*a\.safetensors': must be a new file$"):
        hubft.features("toy:small", images, **asked)
    with pytest.raises(JobError, match="none of logistic, ridge, knn, centroid, boosting"):
        hubft.features("toy:small", images, output=tmp_path / "c.safetensors", classifier="forest")
    assert not list(tmp_path.glob("c.*"))


# --- after runs -------------------------------------------------------------------------------------------------


def test_a_page_is_that_of_the_command(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = runs[0] / "report" / "index.html"
    page.unlink()
    written = hubft.write_report(runs[0])
    assert (written.path, written.note) == (page, "") and capsys.readouterr().out == ""
    ours = page.read_bytes()
    page.unlink()
    assert str(page) in typed(tmp_path, "report", runs[0])
    assert page.read_bytes() == ours
    moved = hubft.write_report(str(runs[0]), data=tmp_path / "nowhere")
    assert "which is not there now" in moved.note and moved.note.endswith("samples are shown as they were then")
    assert f"note: {moved.note}" in typed(tmp_path, "report", runs[0], "--data", tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is no run"):
        hubft.write_report(tmp_path)


def test_runs_are_compared_as_by_the_command(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = hubft.compare([str(runs[0]), runs[1]], output=tmp_path / "a.html")
    assert capsys.readouterr().out == "" and sides[1].difference and sides[1].difference.n == 19
    printed = typed(tmp_path, "compare", *runs, "--json", "--output", "b.html")
    assert json.loads(printed) == {"runs": [side.plain() for side in sides]}
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    for output, said in (
        (tmp_path / "a.txt", "must be a new file that ends in .html"),
        (tmp_path / "a.html", "must be a new file"),
        (tmp_path / "none" / "a.html", "must be a file in a folder that is there"),
    ):
        with pytest.raises(JobError, match=f"^output '{output}': {said}$"):
            hubft.compare(runs, output=output)
    with pytest.raises(JobError, match="runs are compared with one another"):
        hubft.compare(runs[:1])
    with pytest.raises(CheckpointError, match="is no run"):
        hubft.compare([runs[0], tmp_path])


def test_a_soup_is_that_of_the_command(
    runs: list[Path], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = hubft.soup(runs, images, output=tmp_path / "a", greedy=True, quiet=True)
    assert capsys.readouterr().out == "" and isinstance(result, api.Result) and result.run == tmp_path / "a"
    words = [str(run) for run in runs]
    assert exit_code("soup", *words, "--data", images, "--output", tmp_path / "b", "--greedy") == 0
    ours, theirs = (load_file(tmp_path / name / "package" / "model.safetensors") for name in "ab")
    assert ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert table(result.run / "report", "results.json")["soup"]["members"].keys() == set(words)
    for few in ([], runs[:1]):
        with pytest.raises(JobError, match="a soup is made of two packages or more"):
            hubft.soup(few, images, output=tmp_path / "c")
    assert not (tmp_path / "c").exists()
