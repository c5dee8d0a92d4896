"""The command line: its flags are the fields of Job, its errors one line, and a small run from end to end."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import packages
import pictures
import pytest
from commands import Hubft, Ran
from jobs import EVERY_FIELD, leaves

from hubft import Job
from hubft.base.console import Console
from hubft.base.display import visible
from hubft.base.serialize import from_dict
from hubft.cli import main
from hubft.families import plugins, stages
from hubft.families.build import load_base
from hubft.job import Recipe
from hubft.run import typed
from hubft.tasks.metrics import number

CLASSES = ("[red]loud[bold]", "ants", "图\u200b🐶")  # as the terminal must not take them
TRAIN = "head,last:1@0.5"
SCHEDULE = Job("toy:small", "-", recipe=Recipe(TRAIN, epochs=2, batch_size=12, lr=0.01))


class Trained(NamedTuple):
    folder: Path
    data: Path
    out: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A run that the command made, of classes and a folder with names that look like markup."""
    root = tmp_path_factory.mktemp("trained")
    data = pictures.folder(root / "odd[" / "red]", CLASSES)
    options = ["--epochs", 2, "--batch-size", 12, "--lr", 0.01, "--train", TRAIN, "--workers", 0]
    arguments = ["hubft", "finetune", "toy:small", data, *options, "--output", root / "runs" / "mine"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", list(map(str, arguments)))
        with pytest.raises(SystemExit, match="0"):
            main.main()
    yield Trained(root / "runs" / "mine", data, out.getvalue())


def flag(path: str) -> str:
    return "--" + path.rpartition(".")[2].replace("_", "-")


OF_RUNS = {"--no-keep-anyway", "--trust"}


def test_flags_are_the_fields_of_the_job_with_their_defaults(hubft: Hubft) -> None:
    whole = re.sub(r" *│\n│ {8,}", " ", hubft("finetune", "--help").out)  # a text goes on in a line that names no flag
    rows = re.findall(r"^│ (.+?) {2,}(.*?) *│$", whole, re.MULTILINE)
    shown = {name: text for names, text in rows for name in re.findall(r"--[a-z0-9-]+", names)}
    fields = {flag(path): value for path, value in leaves(Job("r:r", "d")).items() if path != "head.outputs"}
    empty = {f"--empty-{name}" for name in ("hidden", "stage-lr", "class-weights", "head-weights", "target", "soup")}
    others = (
        "keep-anyway",
        "baseline",
        "rslora",
        "dora",
        "merge",
        "checkpoint-activations",
        "wise",
        "greedy",
        "exact",
        "shard",
    )
    switches = {f"--no-{name}" for name in ("probe", *others)}
    assert shown.keys() - {"--resume", "--trust", "--json", "--overfit-one-batch", *switches, *empty} == fields.keys()
    for name, value in fields.items():
        default = '""' if value == "" else str(value)
        unset = value is None or name in ("--reference", "--data")
        assert ("[default:" not in shown[name]) if unset else f"[default: {default}]" in shown[name], name
        assert len(shown[name].partition("[")[0]) > 10, f"{name} has a help text"


def test_flags_make_the_job(hubft: Hubft) -> None:
    def parsed(*arguments: str) -> object:
        return main.app.parse_args(["finetune", *arguments], exit_on_error=False, print_error=False)[1].arguments["job"]

    given: list[str] = []
    for path, value in leaves(EVERY_FIELD).items():
        if isinstance(value, bool):
            given.append(flag(path) if value else flag(path).replace("--", "--no-"))
        elif path != "head.outputs":
            for item in value if isinstance(value, tuple) else [value]:
                given += [flag(path), str(item)]
    assert parsed("toy:small", "flowers") == Job("toy:small", "flowers")
    assert parsed(*given) == EVERY_FIELD.with_outputs(0)
    assert parsed(*shlex.split(typed.finetune(EVERY_FIELD))[2:]) == EVERY_FIELD.with_outputs(0)
    assert typed.finetune(Job("toy:small", "my flowers"), trust=True) == "hubft finetune toy:small 'my flowers' --trust"


@pytest.mark.parametrize("arguments", [["--help"], ["finetune", "--help"], ["families"], ["--version"], ["finetune"]])
def test_light_commands_do_not_import_torch(arguments: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "hubft", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if arguments == ["finetune"] else 0)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "cyclopts" in imported and not {"torch", "numpy", "PIL", "hubft_toy", "hubft_timm"} & imported


DATA_ERRORS = [
    ("finetune toy:small nowhere", "'nowhere' is no folder"),
    ("finetune toy:small one", "has only the class 'ant'"),
    ("finetune toy:small empty", "nothing usable to train on in class 'bee'"),
    ("finetune toy:small hollow", "has no class folders"),
    ("finetune toy:small text", "3 of 9 images in 'text/train' cannot be used, more than a tenth; mend"),
    ("evaluate RUN nowhere", "'nowhere' is no folder"),
    ("evaluate RUN hollow", "has no class folders"),
    ("predict RUN nowhere.jpg", "'nowhere.jpg' does not exist"),
    ("predict RUN hollow", "no images in 'hollow'"),
]


@pytest.mark.parametrize(("line", "said"), DATA_ERRORS)
def test_data_is_refused_before_torch_is_imported(wrong: Path, line: str, said: str) -> None:
    pictures.folder(wrong / "text", ("ant", "bee"), 3, 1)
    for i in range(3):
        (wrong / "text" / "train" / "ant" / f"{i}.txt").write_text("ant")
    command = [sys.executable, "-X", "importtime", "-m", "hubft", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=wrong)
    *imported, last = done.stderr.splitlines()
    assert done.returncode == 2 and said in last
    assert not {"torch", "torchvision"} & {name.rpartition("|")[2].strip() for name in imported}


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """Folders that are wrong in one way each, beside one that is right."""
    pictures.folder(tmp_path / "flowers", ("ant", "bee"), 2, 1)
    pictures.folder(tmp_path / "one", ("ant",), 2, 1)
    pictures.folder(tmp_path / "empty", ("ant", "bee"), 2, 1)
    for path in (tmp_path / "empty" / "train" / "bee").iterdir():
        path.unlink()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    return tmp_path


def tree(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for folder in folders for path in folder.rglob("*")}


TUNE = "finetune toy:small flowers --workers 0 "
ALONE = "--resume takes everything from the run's job.json; only --data, --keep-anyway, --devices, --json go with it"


WRONG = [
    ("--bogus", 'Unknown command "--bogus"'),
    ("finetun a:b c", 'Unknown command "finetun". Did you mean "finetune"?'),
    ("finetune", "finetune needs REFERENCE and DATA: hubft finetune timm:"),
    ("finetune toy:small", "--data requires an argument"),
    (TUNE + "--bogus 1", "Unknown option: --bogus"),
    (TUNE + "--outputs 4", "Unknown option: --outputs"),
    (TUNE + "extra", "Unused Tokens: ['extra']"),
    (TUNE + "--epochs many", 'Invalid value for --epochs: unable to convert "many" into int'),
    (TUNE + "--epochs -1", "--epochs -1: must be in 0..100000"),
    (TUNE + "--size 1", "--size 1: must be 0, for the model's own, or in 8..4096"),
    (TUNE + "--lr 1e6", "--lr 1000000.0: must be in [0, 1000]"),
    (TUNE + "--body-lr -1", "--body-lr -1.0: must be in [0, 1000]"),
    (TUNE + "--accumulate 40", "--accumulate 40: must be in 1..--batch-size"),
    (TUNE + "--epochs 0 --no-probe", "--epochs 0: must be one or more where there is no --probe"),
    (TUNE + "--budget 5", "--budget '5': must be a time such as 90s, 5m or 1h"),
    (TUNE + "--budget soon", "--budget 'soon': must be a time such as 90s, 5m or 1h"),
    (TUNE + "--optimizer adm", "--optimizer 'adm' is none of timm's, such as adamw, sgd, lion, lamb."),
    (TUNE + "--stage-lr stm=0.1", "--stage-lr: 'stm' is no stage; this model has stem, block, head. Did you mean"),
    (TUNE + "--seed 9223372036854775808", "must be in 0..2^63-1"),
    (TUNE + "--package half", 'Invalid value "half" for --package. Choose from: "full", "delta"'),
    (TUNE + "--device nowhere", "--device 'nowhere' cannot be used here: "),
    (TUNE + "--compress itn8", ". Did you mean 'int8'?"),
    (TUNE + "--compress int8:4", "--compress 'int8:4': int8 takes no argument: write int8"),
    (TUNE + "--compress int8,", "--compress 'int8,': '' is no method; write NAME or NAME:ARGUMENT, joined by commas"),
    (TUNE + "--compress int8,int8", "--compress 'int8,int8': int8 stands twice"),
    (TUNE + "--compress none,int8", "--compress 'none,int8': none stands beside others"),
    (TUNE + "--compress bf16,int8", "--compress bf16,int8: int8 rounds weights again, which undoes bf16: leave one"),
    (
        TUNE + "--compress int8,prune:0.5",
        "--compress int8,prune:0.5: prune:0.5 trains weights, which undoes int8: write prune:0.5,int8",
    ),
    (TUNE + "--compress prune", "--compress 'prune:': RATIO is the share of channels to take out, in [0.05, 0.9]"),
    (TUNE + "--compress prune:half", "--compress 'prune:half': RATIO is the share of channels to take out, in [0.05,"),
    (TUNE + "--compress prune:0.5 --max-drop 101", "--max-drop 101.0: must be in [0, 100]"),
    (TUNE + "--max-drop 1", "--max-drop is the limit of --compress, which is none: leave it out"),
    (TUNE + "--compress bf61", "--compress 'bf61': known methods are none, bf16, int8, prune:RATIO"),
    (TUNE + "--train heads", "--train: 'heads' is neither a stage of this model (stem, block, head) nor a rule (all,"),
    (TUNE + "--train stage:stm", "stage:stm selects no parameter; this model has stem, block, head. Did you mean"),
    (TUNE + "--train head,type:Conv3d@0.5", "type:Conv3d selects no parameter; this model has BatchNorm2d"),
    (TUNE + "--train match:zzz", "match:zzz selects no parameter; `hubft show toy:small` lists the stages"),
    (TUNE + "--output full", "'full' exists: give another --output\n"),
    (TUNE + "--output RUN", "exists: give another --output, or go on with: hubft finetune --resume "),
    (TUNE + "--output page.jpg", "'page.jpg' exists: give another --output"),
    ("finetune resnet18 flowers", "'resnet18' is no model reference: write family:name"),
    (
        "finetune timn:x flowers",
        "unknown family 'timn'; installed are hub, package, pip, timm, torchvision, toy, trans",
    ),
    ("finetune my_nets:x flowers", "timm, torchvision, toy, transformers. Try: pip install hubft-my-nets"),
    ("show my_nets:x", "timm, torchvision, toy, transformers. Try: pip install hubft-my-nets"),
    ("finetune toy:tiny flowers", "toy:tiny: "),
    ("finetune toy:small nowhere", "'nowhere' is no folder; DATA holds"),
    ("finetune toy:small one", "has only the class 'ant'; two or more"),
    ("finetune toy:small empty", "nothing usable to train on in class 'bee'"),
    ("finetune toy:small hollow", "'hollow' has no class folders"),
    ("finetune --resume full", "'full' is no run: its job.json cannot be read"),
    ("finetune --resume nowhere", "'nowhere' is no run: its job.json cannot be read"),
    ("finetune --resume hollow", "begin it: hubft finetune REFERENCE DATA --output hollow"),
    ("finetune --resume RUN", "package; to train it further: hubft finetune package:RUN "),
    ("finetune --resume RUN --data flowers", "is finished: its package is "),
    ("finetune --resume", "--resume requires an argument"),
    ("finetune --resume RUN --epochs 3", ALONE),
    ("finetune --resume=RUN --epochs 3", ALONE),
    ("finetune toy:small --resume RUN", ALONE),
    ("finetune toy:small flowers --resume RUN", ALONE),
    ("evaluate nowhere flowers", "'nowhere' is neither a folder nor a Hub repository"),
    ("evaluate full flowers", "full"),
    (
        "evaluate RUN flowers",
        "'flowers/val' has unknown classes 'ant', 'bee'; known are '[red]loud[bold]', 'ants', '图\\u200b🐶'",
    ),
    ("evaluate RUN nowhere", "'nowhere' is no folder"),
    ("evaluate RUN hollow", "'hollow' has no class folders; DATA holds"),
    ("predict RUN nowhere.jpg", "'nowhere.jpg' does not exist"),
    ("predict RUN nowhere.jpg neither.jpg", "'nowhere.jpg' does not exist, nor do 1 more"),
    ("predict RUN hollow", "no images in 'hollow'; known formats are JPEG, PNG"),
    ("predict RUN page.jpg --top 0", "--top 0: must be 1 or more"),
    ("predict RUN page.jpg --top -3", "--top -3: must be 1 or more"),
    ("predict RUN page.jpg --json --csv", "--json, --csv and --output: give one of them"),
    ("evaluate RUN flowers --json --matrix", "--json has the confusion matrix in it: leave out --matrix"),
    ("evaluate RUN flowers --predictions p.txt", "--predictions 'p.txt': its suffix must be .csv or .jsonl"),
    ("evaluate RUN flowers --predictions full/p.csv", "has unknown classes"),
    ("evaluate nowhere flowers --predictions there.csv", "'there.csv' exists: nothing was written; name another file"),
    ("evaluate nowhere flowers --predictions gone/p.csv", "'gone/p.csv' cannot be written: there is no folder 'gone'"),
    ("evaluate nowhere flowers --predictions page.jpg/p.csv", "'page.jpg/p.csv' cannot be written: Not a directory"),
    ("predict https://hf.co/me/flowers page.jpg", "'https://hf.co/me/flowers' is a URL: write me/flowers"),
    ("predict RUN https://x.org/a.jpg", "'https://x.org/a.jpg' is a URL: download it first"),
    ("evaluate RUN https://x.org/a.zip", "'https://x.org/a.zip' is a URL: download it first"),
    ("evaluate https://x.org/p flowers", "'https://x.org/p' is a URL: download it first"),
    ("finetune https://huggingface.co/timm/x flowers", "'https://huggingface.co/timm/x' is a URL: write family:name"),
    ("finetune toy:small https://x.org/a.zip", "'https://x.org/a.zip' is a URL: download it first"),
    ("show https://huggingface.co/me/flowers/tree/v2", "is a URL: write me/flowers@v2"),
    ("push RUN https://huggingface.co/me/flowers", "is a URL: write me/flowers"),
    ("push https://x.org/p me/flowers", "'https://x.org/p' is a URL: download it first"),
    ("predict RUN", "--inputs requires an argument"),
    ("show nowhere", "'nowhere' is neither a folder nor a Hub repository"),
    ("show toy:tiny", "toy:tiny: "),
    ("show toy:small --train last:x", "--train: 'last:x': last:N needs N >= 1"),
    ("show toy:small --train stage:stm", "this model has stem, block, head. Did you mean 'stem'?"),
    ("families --bogus", "Unknown option: --bogus"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line.removeprefix(TUNE) for line, _ in WRONG])
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_written(
    hubft: Hubft, wrong: Path, trained: Trained, line: str, said: str
) -> None:
    before = tree(wrong, trained.folder)
    ran = hubft(*line.replace("RUN", str(trained.folder)).split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("hubft: ") and ran.err.endswith("\n") and ran.err.count("\n") == 1
    assert said.replace("RUN", str(trained.folder)) in ran.err
    assert not re.search(r"Traceback|Error\b|0x[0-9a-f]{6}", ran.err)
    assert tree(wrong, trained.folder) == before


def test_a_process_exits_with_two(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hubft", "finetune", "nope", "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("hubft: 'nope' is no model reference: ")


def test_output_that_nobody_reads_ends_a_process_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "hubft", "families"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + 13, "")


def test_finetune_leaves_a_run(trained: Trained) -> None:
    files = {path.relative_to(trained.folder).as_posix() for path in trained.folder.rglob("*") if path.is_file()}
    assert any(name.startswith("report/samples/") for name in files)
    assert {name for name in files if not name.startswith(("checkpoints/", "report/samples/"))} == {
        "job.json",
        "data.json",
        "plan.json",
        "metrics.jsonl",
        *(f"report/{name}" for name in ("results.json", "curves.png", "confusion.png", "index.html")),
        *(f"report/{name}" for name in ("outcomes.safetensors", "facts.json")),
        *(f"package/{name}" for name in ("hubft.json", "model.safetensors", "selftest.safetensors", "README.md")),
        "package/picture.png",
    }
    assert any(name.startswith("checkpoints/") for name in files)
    job = from_dict(Job, json.loads((trained.folder / "job.json").read_text()))
    assert job.recipe == SCHEDULE.recipe and (job.head.outputs, job.compute.workers) == (3, 0)
    assert (job.reference, job.data, job.output) == ("toy:small", str(trained.data), str(trained.folder))
    lines = [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 3), (2, 6)]
    results = json.loads((trained.folder / "report" / "results.json").read_text())
    assert lines[-1]["accuracy"] == results["metrics"]["accuracy"]


def test_finetune_tells_what_it_does(trained: Trained) -> None:
    assert "toy:small on 36 training and 12 validation images of 3 classes, " in trained.out
    assert re.search(r"^epoch 1/2  loss \d.*\nepoch 2/2  loss \d\.\d{4}  val \d\.\d{4}  acc", trained.out, re.M)
    accuracy = json.loads((trained.folder / "metrics.jsonl").read_text().splitlines()[-1])["accuracy"]
    rows = dict(Ran(0, trained.out, "").cells())
    assert rows["accuracy"] == f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    results = json.loads((trained.folder / "report" / "results.json").read_text())
    assert rows["loss"] == number(results["metrics"]["loss"])
    assert {"balanced accuracy", "macro F1", "AUROC", "calibration error"} < rows.keys()
    for line in (f"report   {trained.folder}/report/index.html", f"package  {trained.folder}/package"):
        assert f"\n{line}\n" in trained.out
    assert trained.out.endswith(f"\ntry      hubft predict {trained.folder} IMAGE\n") and "\x1b" not in trained.out


def test_two_identical_commands_see_identical_data(hubft: Hubft, tmp_path: Path) -> None:
    pictures.folder(tmp_path / "flowers", ("ants", "bees"), 12, 4)
    (tmp_path / "flowers" / "train").rename(tmp_path / "data")
    here = Path.cwd()
    options = ["--epochs", 0, "--workers", 0, "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "data")
        first, second = (hubft("finetune", "toy:small", ".", *options) for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert "note: not used, written by hubft: 'runs'" in second.out and "written by" not in first.out
    said = "toy:small on 20 training and 4 validation images of 2 classes, "
    assert said in first.out and said in second.out
    manifests = [json.loads((run / "package" / "hubft.json").read_text()) for run in (here / "data" / "runs").iterdir()]
    assert len(manifests) == 2 and manifests[0]["data"] == manifests[1]["data"]
    assert manifests[0]["task"]["classes"] == ["ants", "bees"]


def test_a_test_part_is_measured_once_and_shown_apart(hubft: Hubft, tmp_path: Path) -> None:
    pictures.folder(tmp_path / "data", ("ants", "bees"), 12, 4)
    (tmp_path / "data" / "val").rename(tmp_path / "data" / "Test")
    ran = hubft("finetune", "toy:small", "data", "--epochs", 1, "--workers", 0, "--output", "run")
    assert ran.code == 0
    assert "on 20 training and 4 validation images, and 8 test images, of 2 classes" in ran.out
    assert "note: 4 images of train/ are held out to validate; Test/ is measured once, at the end\n" in ran.out
    assert "the same on the test part, measured once: 8 images" in ran.out
    results = json.loads((tmp_path / "run" / "report" / "results.json").read_text())
    manifest = json.loads((tmp_path / "run" / "package" / "hubft.json").read_text())
    assert results["test"] == manifest["metrics"]["test"] != results["metrics"]
    assert results["test"]["accuracy"]["n"] == 8 and results["metrics"]["accuracy"]["n"] == 4
    assert manifest["data"]["test"]["samples"] == 8
    card = (tmp_path / "run" / "package" / "README.md").read_text()
    assert "On test images, measured once when all was done: **" in card and "| test | `8` |" in card
    assert "split: test" in card and "split: validation" in card
    evaluated = hubft("evaluate", "run", "data")
    assert "run on data/Test: 8 images" in evaluated.out
    assert evaluated.cells()[0] == [row for row in ran.cells() if row[0] == "accuracy"][1]


def test_predict_takes_what_is_an_image_and_tells_what_is_none(hubft: Hubft, trained: Trained, tmp_path: Path) -> None:
    for name in ("a.jfif", "b", "c.txt"):
        shutil.copy(trained.data / "val" / "ants" / "0.png", tmp_path / name)
    (tmp_path / "d.jpg").write_text("<html>")
    ran = hubft("predict", trained.folder, tmp_path)
    assert ran.code == 0 and [line.partition(":")[0] for line in ran.out.splitlines()] == [
        str(tmp_path / name) for name in ("a.jfif", "b", "c.txt")
    ]
    assert ran.err.startswith("hubft: not used, not an image of a known format (") and ran.err.endswith(": 'd.jpg'\n")
    assert hubft("predict", trained.folder, tmp_path / "a.jfif").code == 0


def test_evaluate_measures_as_the_run_did(hubft: Hubft, trained: Trained) -> None:
    ran = hubft("evaluate", trained.folder, trained.data, "--matrix")
    assert (ran.code, ran.err) == (0, "") and "\x1b" not in ran.out
    measured = json.loads((trained.folder / "report" / "results.json").read_text())["metrics"]
    rows = ran.cells()
    assert rows[0][1].startswith(f"{measured['accuracy']['value']:.3f} [")
    names = [visible(name, 24) for name in CLASSES]
    assert [row[0] for row in rows[: -2 * len(names)]] == [
        *("accuracy", "balanced accuracy", "macro F1", "AUROC", "calibration error", "loss")
    ]
    recall, precision = (
        [f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" if r else "-" for r in measured[metric]]
        for metric in ("recall", "precision")
    )
    assert rows[-6:-3] == [[*row, "4"] for row in zip(names, recall, precision, strict=True)]
    assert rows[-3:] == [[n, *map(str, row)] for n, row in zip(names, measured["confusion"], strict=True)]
    assert f"{trained.folder} on {trained.data}/val: 12 images" in ran.out, "a folder called x[/red] is no markup"
    heads = next(line for line in ran.out.splitlines() if "true \\ predicted" in line)
    assert [cell.strip() for cell in heads.split("┃")[2:-1]] == names


def test_predict_names_what_is_in_images(hubft: Hubft, trained: Trained) -> None:
    folder = trained.data / "val" / "ants"
    ran = hubft("predict", trained.folder, folder, "--json")
    assert (ran.code, ran.err) == (0, "")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["image"] for line in lines] == [str(folder / f"{i}.png") for i in range(4)]
    for line in lines:
        assert (line["class"], line["probability"]) == next(iter(line["probabilities"].items()))
        shares = list(line["probabilities"].values())
        assert set(line["probabilities"]) == set(CLASSES)
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    image = folder / "2.png"
    for top in (1, 3):
        best = list(lines[2]["probabilities"].items())[:top]
        shown = ", ".join(f"{visible(name, 24)} {share:.3f}" for name, share in best)
        assert hubft("predict", trained.folder / "package", image, "--top", top).out == f"{image}: {shown}\n"


def test_show_tells_what_a_package_is(hubft: Hubft, trained: Trained) -> None:
    facts = dict(hubft("show", trained.folder).cells()[:7])
    measured = json.loads((trained.folder / "report" / "results.json").read_text())["metrics"]["accuracy"]
    assert facts["head"] == "3 outputs"
    assert facts["class names"] == "3: " + ", ".join(f"'{visible(name)}'" for name in CLASSES)
    assert facts["task"] == "classification"
    assert facts["measured"].startswith(f"accuracy {100 * measured['value']:.1f} % (95 % interval ")
    size = sum(path.stat().st_size for path in (trained.folder / "package").iterdir())
    assert facts["size"] == f"{size / 1e6:.2f} MB"
    assert facts["weights"] == "full; compress none" and facts["base"] == "toy:small, revision 1"


def test_show_tells_of_a_delta_and_cuts_a_long_list(hubft: Hubft, tmp_path: Path) -> None:
    names = tuple(f"class {i}" for i in range(1000))
    job = packages.toy_job(package="delta", compress="bf16").with_outputs(len(names))
    packages.write(tmp_path / "p", replace(job, head=replace(job.head, hidden=(8,))), names)
    facts = dict(hubft("show", tmp_path / "p").cells()[:7])
    assert facts["head"] == "8 hidden, 1,000 outputs"
    assert facts["class names"].endswith("'class 7' and 992 more")
    assert re.fullmatch(r"delta: \d tensors are those of the base; compress bf16", facts["weights"])


@pytest.mark.parametrize("images", ["train", "val", "old"])
def test_evaluate_says_how_many_of_the_images_were_trained_on(
    hubft: Hubft, trained: Trained, tmp_path: Path, images: str
) -> None:
    package, data = trained.folder, trained.data / ("val" if images == "old" else images)
    if images == "old":
        shutil.copytree(trained.folder / "package", tmp_path / "p")
        packages.rewrite(tmp_path / "p", lambda its: its["data"]["train"].pop("seen"))
        package = tmp_path / "p"
    said, number = {
        "train": ("note: 36 of 36 images were trained on: the score is too good", 36),
        "val": ("none of the 12 images was trained on", 0),
        "old": ("note: whether these 12 images were trained on is not known: the package does not say", None),
    }[images]
    assert said in hubft("evaluate", package, data).out.splitlines()
    assert json.loads(hubft("evaluate", package, data, "--json").out)["trained_on"] == number


@pytest.mark.parametrize("source", ["toy:small", "RUN"])
def test_show_has_the_stages_before_and_after(hubft: Hubft, trained: Trained, source: str) -> None:
    ran = hubft("show", source.replace("RUN", str(trained.folder)), "--train", TRAIN)
    assert (ran.code, ran.err) == (0, "")
    heads = next(line for line in ran.out.splitlines() if "stage" in line and "┃" in line)
    columns = [cell.strip() for cell in heads.split("┃")[1:-1]]
    assert columns == ["stage", "modules", "parameters", "before", "after", "from 50%"]
    head = 330 if source == "toy:small" else 33 * len(CLASSES)  # a package has its own
    assert ran.cells()[-4:] == [
        ["stem", "stem", "464", "464", "0", "0"],
        ["block", "block", "4,672", "4,672", "0", "4,672"],
        ["head", "head", *4 * [f"{head:,}"]],
        ["total", "", f"{5136 + head:,}", f"{5136 + head:,}", str(head), f"{4672 + head:,}"],
    ]
    assert "toy:small: Small, head head" in ran.out


@pytest.mark.parametrize(
    ("train", "totals"),
    [
        ("all", [5466]),
        ("head", [330]),
        ("last:1", [5002]),
        ("last:99", [5466]),
        ("stage:stem", [794]),
        ("type:BatchNorm2d", [426]),
        ("norms", [426]),
        ("match:^(stem|block).0", [5370]),
        ("all,-norms", [5370]),
        ("all,-head", [5466]),  # the head is new: it trains whatever is asked
        ("-norms", [330]),
        ("head,last:1@0.25,all@0.5,-norms@0.75", [330, 5002, 5466, 5370]),
    ],
)
def test_show_counts_what_trains(hubft: Hubft, train: str, totals: list[int]) -> None:
    ran = hubft("show", "toy:small", f"--train={train}")
    assert (ran.code, ran.err) == (0, "")
    assert ran.cells()[-1][4:] == [f"{total:,}" for total in totals]


def test_before_is_what_trains_as_loaded() -> None:
    job = Job("toy:small", "d")
    loaded = load_base(plugins.manager("toy"), job, pretrained=False)
    loaded.model.get_submodule("stem").requires_grad_(False)
    assert [row[3] for row in stages.table(loaded, "all", [0.0])] == [0, 4672, 330, 5002]


def test_families_are_listed(hubft: Hubft) -> None:
    rows = {row[0]: row[1:] for row in hubft("families").cells()}
    assert {"timm", "torchvision", "hub", "pip"} <= rows.keys()
    assert rows["toy"] == ["hubft-toy", "1.0", "hubft_toy", ""]


def test_families_are_verified(hubft: Hubft, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = [family for family in plugins.installed() if family.name == "toy"]
    monkeypatch.setattr(plugins, "installed", lambda: [*toy, plugins.Family("gone", "gone", "gone", "2")])
    ran = hubft("families", "--verify")
    assert ran.cells() == [["toy", "hubft-toy", "1.0", "load", "ok"], ["gone", "gone", "2", "", "broken"]]
    assert "\nthis needs the family 'gone', which is not installed; installed are" in ran.out


def test_what_is_printed_is_inert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    names = ["[red]x[/red]", "[/]", "\x1b[31mx", "a\u202eb", "c\nd", "\\[red]", "bad\udcff"]
    inert = ["[red]x[/red]", "[/]", "\\x1b[31mx", "a\\u202eb", "c\\nd", "\\[red]", "bad\\udcff"]
    console = Console()
    for name in names:
        console.say(name)
    assert capsys.readouterr().out.splitlines() == inert
    console.table(names, [names], title=" ".join(names))
    title, _, heads, _, row, _ = capsys.readouterr().out.splitlines()
    assert title.rstrip() == " ".join(inert)
    assert [cell.strip() for cell in heads.split("┃")[1:-1]] == [c.strip() for c in row.split("│")[1:-1]] == inert


@pytest.mark.parametrize(
    ("name", "shown"), [("x" * 24, "x" * 24), ("x" * 10_000, "x" * 23 + "…"), ("", ""), ("é\t", "é\\t")]
)
def test_long_names_are_cut(name: str, shown: str) -> None:
    assert visible(name, 24) == shown
