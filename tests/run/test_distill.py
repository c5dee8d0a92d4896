"""A student and its teacher: whole runs of `hubft distill`, what it refuses, and what is the same after a kill."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pictures
import pytest
import torch
from commands import Hubft
from forked import Python
from PIL import Image
from runs import Heard, heard, job, listening
from safetensors.torch import load_file
from torch import Tensor

import hubft as package
from hubft import HubftError, Job, Preprocess, engine
from hubft.base.errors import FamilyError
from hubft.cut.features import Cache
from hubft.images.conversion import Conversion
from hubft.job import Teaching
from hubft.run.folder import Run
from hubft.share import inference, load
from hubft.tasks.metrics import bootstrap
from hubft.train.lessons import Lesson, Teacher

FATAL = Path(__file__).parents[1] / "fatal.py"
QUICK = ["--batch-size", "16", "--lr", "0.02", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=12, val=8)


@pytest.fixture(scope="module")
def teacher(insects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine.finetune(job(insects, tmp_path_factory.mktemp("teacher") / "run")).run.folder


def student(insects: Path, output: Path, teacher: Path, teaching: dict[str, Any] | None = None, **parts: Any) -> Job:
    """Return the job of a student of this teacher that sees few pixels, and starts at zero."""
    parts["recipe"] = {"train": "all", "probe": False, "lr": 0.01} | parts.get("recipe", {})
    return job(insects, output, teaching=Teaching(str(teacher), **teaching or {}), size=24, **parts)


def says(folder: Path, data: Path) -> list[float]:
    """Return how wrong a package is of each validation image."""
    return [one.error for one in inference.evaluate(load.opened(load.package(folder)), data).outcomes]


def test_the_command_leaves_a_package_and_what_the_teacher_is_worth(
    insects: Path, teacher: Path, hubft: Hubft, tmp_path: Path
) -> None:
    slow = (
        "--no-probe --train all --epochs 2 --size 24 --imitation 0.9 --averaging 0 --workers 0 --device cpu --lr 0.004"
    )
    ran = hubft("distill", teacher, "toy:small", insects, *slow.split(), "--output", "run")
    assert (ran.code, ran.err) == (0, "")
    run = tmp_path / "run"
    beside = json.loads((run / "report" / "results.json").read_text())["beside"]
    errors = [says(run / name, insects) for name in ("without", "package")]
    apart = numpy.subtract(*errors)
    worth = bootstrap(lambda counts: float(counts @ apart / len(apart)), len(apart))
    assert worth.value, "else the order of the two would not show"
    assert (beside["difference"]["value"], beside["difference"]["n"]) == (pytest.approx(worth.value), 24)
    assert (beside["difference"]["low"], beside["difference"]["high"]) == pytest.approx((worth.low, worth.high))
    assert beside["without"]["accuracy"]["value"] == pytest.approx(1 - sum(errors[0]) / 24)
    names = [row[0] for row in ran.cells()]
    assert {"the teacher", "the model without it", "the model, taught"} <= set(names)
    assert "beside   with its teacher the model's accuracy is" in ran.out
    assert (run / "report" / "beside.png").is_file() and (run / "without" / "package" / "hubft.json").is_file()
    card = (run / "package" / "README.md").read_text()
    assert "it learned what the package `run` says, which reaches" in card and "The same model without" in card
    assert "hubft distill run toy:small DATA" in card
    assert str(teacher) not in (run / "package" / "hubft.json").read_text() + card
    assert Run(run).job().teaching.teacher == str(teacher.resolve())
    assert load.load(run, prove=True).hubft["classes"] == ["ants", "bees", "wasps"]


def test_the_student_learns_what_the_teacher_says_not_what_the_labels_say(
    insects: Path, teacher: Path, tmp_path: Path
) -> None:
    """With labels left out of the loss it comes nearer to the teacher than the same student without one."""
    asked = student(insects, tmp_path / "run", teacher, {"imitation": 1.0, "temperature": 2.0}, recipe={"epochs": 12})
    engine.finetune(replace(asked, size=0))
    models = [load.load(folder) for folder in (teacher, tmp_path / "run", tmp_path / "run" / "without")]
    inputs = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs, taught, alone = (model(inputs).log_softmax(1) for model in models)

    def apart(ours: Tensor) -> float:
        return float((theirs.exp() * (theirs - ours)).sum(1).mean())

    assert apart(taught) < 0.7 * apart(alone)


@pytest.mark.parametrize(
    ("recipe", "times", "told"),
    [
        ({"augment": "none"}, 1, "what it says of images as they are was computed once"),
        ({"augment": "light"}, 3, "runs in every step, as no augmented view of an image comes twice: about"),
        ({"augment": "strong"}, 3, "runs in every step, as no augmented view"),
        ({"augment": "light", "train": "head", "probe": True, "views": 2}, 2, "what it says of 2 views of each image"),
    ],
)
def test_the_teacher_is_asked_once_for_each_view(
    recipe: dict[str, Any], times: int, told: str, insects: Path, teacher: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))
    asked, real = [], Teacher.says

    def counted(self: Teacher, inputs: Tensor) -> Tensor:
        asked.append(len(inputs))
        return real(self, inputs)

    monkeypatch.setattr(Teacher, "says", counted)
    made = student(insects, tmp_path / "run", teacher, {"baseline": False}, recipe={"epochs": 3} | recipe)
    _, console = heard(made)
    assert sum(asked) == 2 * 8 + 24 + times * 36  # tried on eight, timed on them, measured, and then
    assert any(told in line for line in console.about("teacher"))
    asked.clear()
    _, console = heard(replace(made, output=str(tmp_path / "again")))
    assert sum(asked) == 2 * 8 + (0 if "step" not in told else times * 36)


def test_what_is_kept_is_what_the_teacher_says_of_the_very_pixels(
    insects: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is given what the teacher says of the inputs of that step, kept or computed in it."""
    asked: list[tuple[Teacher, Tensor, Tensor]] = []

    def train_step(model: Any, batch: Any, criterion: Any, forward: Any) -> Any:
        inputs, targets = batch
        if isinstance(targets, Lesson):
            asked.append((criterion.lessons.teacher, inputs.clone(), targets.said))
        outputs = forward(model, inputs)
        return {"loss": criterion(outputs, targets), "outputs": outputs}

    listening(monkeypatch, train_step=train_step)
    for augment in ("none", "strong"):
        made = student(insects, tmp_path / augment, teacher, {"baseline": False}, recipe={"augment": augment})
        engine.finetune(made)
    assert len(asked) == 2 * 2 * 3
    for known, inputs, said in asked:
        assert torch.allclose(known.says(inputs), said, atol=1e-4)


def test_inputs_of_another_size_and_scale_are_the_same_pictures() -> None:
    mine = Preprocess((24, 24), 28)
    its = Preprocess((48, 48), 50, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), channels="bgr")
    picture = torch.rand(2, 3, 1, 1).expand(2, 3, 24, 24)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (mine.mean, mine.std))
    made = Conversion(mine, its)((picture - mean) / std)
    theirs = (picture.flip(1)[..., :1, :1] - torch.tensor(its.mean).view(-1, 1, 1)) / torch.tensor(its.std).view(
        -1, 1, 1
    )
    assert made.shape == (2, 3, 48, 48) and torch.allclose(made, theirs.expand_as(made), atol=1e-5)
    inputs = torch.rand(1, 3, 24, 24)
    assert Conversion(mine, replace(mine, resize=40))(inputs) is inputs
    with pytest.raises(HubftError, match="other proportions"):
        Conversion(mine, replace(mine, size=(24, 32)))


def test_killed_in_the_student_and_in_the_one_without_it_ends_with_the_same_bits(
    python: Python, insects: Path, teacher: Path, tmp_path: Path
) -> None:
    options = "--epochs 3 --size 24 --checkpoint-every 2 --train head,all@0.3 --augment standard --hints 0.5"
    words = ["distill", str(teacher), "toy:small", str(insects), *options.split(), *QUICK, "--accumulate", "2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def ran(*command: str) -> int:
        return python(*command).returncode

    assert ran("-m", "hubft", *words, "--output", str(whole)) == 0
    assert ran(str(FATAL), "step", "5", *words, "--output", str(killed)) == -signal.SIGKILL
    assert ran(str(FATAL), "step", "3", "distill", "--resume", str(killed)) == -signal.SIGKILL  # in the other one
    assert (killed / "without" / "checkpoints" / "step-00000002").is_dir() and not (killed / "package").exists()
    assert ran("-m", "hubft", "distill", "--resume", str(killed)) == 0
    files = ["package/model.safetensors", "without/package/model.safetensors"]
    files.append("checkpoints/step-00000008/state.safetensors")
    for file in files:
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), file
    beside = [json.loads((run / "report" / "results.json").read_text())["beside"] for run in (whole, killed)]
    assert beside[0] == beside[1]
    shutil.rmtree(killed / "package")  # as if it had died when the other one was done
    assert ran("-m", "hubft", "distill", "--resume", str(killed)) == 0
    assert (whole / files[0]).read_bytes() == (killed / files[0]).read_bytes()
    state = load_file(whole / "checkpoints" / "step-00000008" / "state.safetensors")
    assert {"adapters/0.weight", "optimizer/adapters/0.weight/exp_avg"} <= state.keys()
    assert not [name for name in load_file(whole / "package" / "model.safetensors") if "adapter" in name]


def test_features_are_learned_by_weight_and_only_then(insects: Path, teacher: Path, tmp_path: Path) -> None:
    made = [
        student(insects, tmp_path / str(hints), teacher, {"hints": hints, "baseline": False}) for hints in (0.0, 1.0)
    ]
    plain, hinted = (load.load(engine.finetune(one).run.folder).state_dict() for one in made)
    assert not torch.equal(plain["stem.0.weight"], hinted["stem.0.weight"])


def test_without_a_baseline_the_report_says_so(insects: Path, teacher: Path, hubft: Hubft, tmp_path: Path) -> None:
    words = [*QUICK, "--epochs", 1, "--no-baseline", "--output", "run"]
    ran = hubft("distill", teacher, "toy:small", insects, *words)
    assert ran.code == 0 and "beside   what the teacher is worth was not measured: --no-baseline" in ran.out
    beside = json.loads((tmp_path / "run" / "report" / "results.json").read_text())["beside"]
    assert (beside["without"], beside["difference"], beside["note"]) == (None, None, "--no-baseline")
    assert not (tmp_path / "run" / "without").exists()
    assert "What that teacher is worth was not measured." in (tmp_path / "run" / "package" / "README.md").read_text()


def test_a_teacher_from_python(insects: Path, teacher: Path, tmp_path: Path) -> None:
    options: Any = {"epochs": 1, "device": "cpu", "workers": 0, "quiet": True, "output": tmp_path / "run"}
    result = package.distill(teacher, "toy:small", insects, temperature=4.0, **options)
    assert result.beside and result.beside.difference and result.beside.teacher.headline == "accuracy"
    assert "without a teacher" in result._repr_html_()
    assert {path.name for path in result.pictures} == {"beside.png", "confusion.png", "curves.png"}


def test_a_package_that_was_taught_is_compressed_without_its_teacher(
    insects: Path, teacher: Path, tmp_path: Path
) -> None:
    taught = engine.finetune(student(insects, tmp_path / "taught", teacher, {"baseline": False}))
    small = engine.compress(str(taught.run.folder), insects, "bf16", tmp_path / "small")
    assert small.steps[0].held and small.run.job().teaching == Teaching()


# --- numbers and several heads --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of pictures with a number, how bright they are, and a colour."""
    root, random = tmp_path_factory.mktemp("table"), numpy.random.default_rng(0)
    rows = []
    for i in range(60):
        Image.fromarray(pictures.pixels(random, i % 3)).save(root / f"{i}.png")
        rows.append(
            {"image": f"{i}.png", "price": 1000 + 200 * (i % 3) + i % 7, "colour": ("red", "green", "blue")[i % 3]}
        )
    with (root / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root / "table.csv"


@pytest.mark.parametrize("targets", [("price",), ("price", "colour")])
def test_numbers_and_several_heads_are_distilled_in_the_users_unit(
    targets: tuple[str, ...], table: Path, tmp_path: Path
) -> None:
    options: Any = {"device": "cpu", "workers": 0, "quiet": True, "target": targets, "lr": 0.01}
    package.finetune("toy:small", table, epochs=2, output=tmp_path / "teacher", **options)
    result = package.distill(
        tmp_path / "teacher",
        "toy:small",
        table,
        epochs=6,
        imitation=1.0,
        train="all",
        output=tmp_path / "run",
        **options,
    )
    assert result.beside and result.beside.difference
    inputs = torch.zeros(1, 3, 32, 32)
    with torch.inference_mode():
        said = [float(hubft_model(inputs)[0, 0]) for hubft_model in (load.load(tmp_path / "teacher"), result.model)]
    assert abs(said[0] - said[1]) < 400 and said[1] > 500  # in the user's unit, not in deviations


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["TEACHER", "toy:small", "OTHER"], "it does not know the class 'flies', and the data has no class 'ants'"),
        (["TEACHER", "toy:small", "TABLE", "--target", "price"], "of the kind classification, and these labels are"),
        (["TEACHER", "toy:small", "TABLE", "--target", "price", "--temperature", "2"], "these labels are regression"),
        (["INSECTS", "toy:small", "INSECTS"], "the teacher: INSECTS is no package: it has no hubft.json"),
        (["toy:small", "toy:small", "INSECTS"], "hubft finetune toy:small DATA makes a package of it"),
        (["nowhere", "toy:small", "INSECTS"], "the teacher: 'nowhere' is neither a folder nor a Hub repository"),
        (["TEACHER", "toy:smal", "INSECTS"], "the models are toy:small"),
        (["TEACHER", "toi:small", "INSECTS"], "family 'toi'"),
        (["TEACHER", "toy:small", "INSECTS", "--imitation", "2"], "--imitation 2.0: must be in [0, 1]"),
        (["TEACHER", "toy:small", "INSECTS", "--imitation", "0"], "a share, or --hints"),
        (["TEACHER", "toy:small", "INSECTS", "--hints", "1", "--compile", "on"], "leave out --hints"),
        (["TEACHER", "toy:small", "INSECTS", "--hints", "1", "--train", "head"], "no stage that trains"),
        (["TEACHER", "toy:small", "INSECTS", "--epochs", "0"], "and a teacher not heard; give one or more"),
        (["TEACHER", "toy:small", "INSECTS", "--teacher", "x"], "--teacher 'x': the teacher is named already"),
        (["TEACHER"], "distill needs TEACHER, REFERENCE and DATA"),
    ],
)
def test_what_cannot_be_taught_is_told_in_a_line_and_nothing_is_written(
    words: list[str], said: str, insects: Path, teacher: Path, table: Path, hubft: Hubft, tmp_path: Path
) -> None:
    other = pictures.folder(tmp_path / "other", classes=("bees", "flies", "wasps"), train=3, val=1)
    places = {"TEACHER": str(teacher), "INSECTS": str(insects), "OTHER": str(other), "TABLE": str(table)}
    ran = hubft("distill", *[places.get(word, word) for word in words])
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for name, place in places.items():
        said = said.replace(name, place) if "needs" not in said else said
    assert said in ran.err, ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_an_option_of_teaching_needs_a_teacher(insects: Path, hubft: Hubft) -> None:
    ran = hubft("finetune", "toy:small", insects, "--temperature", "2")
    assert ran.code == 2 and "--temperature has no meaning without a teacher: leave it out" in ran.err


def test_another_teacher_is_not_gone_on_with(
    insects: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runs import killed

    mine = tmp_path / "teacher"
    engine.finetune(job(insects, mine, recipe={"epochs": 1}))
    run = killed(student(insects, tmp_path / "run", mine, compute={"checkpoint_every": 1}), 3, monkeypatch)
    (mine / "package").rename(tmp_path / "old")
    (teacher / "package").rename(mine / "package")
    try:
        with pytest.raises(HubftError, match="is not the one that the run began with"):
            engine.resume(run.folder)
    finally:
        (mine / "package").rename(teacher / "package")


def test_a_step_that_computes_its_own_loss_cannot_be_taught(
    insects: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_step(model: Any, batch: Any, criterion: Any, forward: Any) -> Any:
        inputs, _ = batch
        outputs = forward(model, inputs)
        return {"loss": outputs.square().mean(), "outputs": outputs}

    listening(monkeypatch, train_step=train_step)
    with pytest.raises(FamilyError, match="it cannot be distilled"):
        engine.finetune(student(insects, tmp_path / "run", teacher))


def test_where_there_is_no_room_for_features_the_teacher_runs_in_every_step(
    insects: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Cache.get

    def full(self: Cache, sources: Any, *its: Any, **more: Any) -> Any:
        return "the disk is full" if sources[0].shape[0] > 100 else real(self, sources, *its, **more)

    monkeypatch.setattr(Cache, "get", full)
    console = Heard()
    made = student(insects, tmp_path / "run", teacher, {"hints": 1.0, "baseline": False}, recipe={"augment": "none"})
    engine.finetune(made, console)
    assert any("as what it says cannot be kept: the disk is full" in line for line in console.lines)
