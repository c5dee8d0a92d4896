"""A package at work on many files: what cannot be read is named, the rest goes on, programs can read the answers."""

import csv
import io
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import packages
import pictures
import pytest
import torch
from commands import in_folder
from PIL import Image
from safetensors.torch import load_file, save_file

from hubft import Loaded
from hubft.base.console import Console
from hubft.base.display import csv_line, unprintable, visible
from hubft.base.errors import DataError, PackageError
from hubft.cli import printing
from hubft.data import formats
from hubft.images import decode
from hubft.publish.package import SELFTEST, WEIGHTS
from hubft.share import inference, load
from hubft.tasks.classification import Classification
from hubft.tasks.metrics import Measured, Metrics

MANY = 70  # three batches


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "p"
    packages.write(folder, packages.toy_job())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many pictures; among them three files that are none, one of them cut short, and beside them notes."""
    import numpy

    random = numpy.random.default_rng(0)
    root = tmp_path_factory.mktemp("images")
    for i in range(MANY):
        Image.fromarray(pictures.pixels(random, i)).save(root / f"{i:03}.png")
    (root / "009.png").write_bytes((root / "008.png").read_bytes()[:90])
    (root / "040.png").write_bytes((root / "041.png").read_bytes()[:200])
    (root / "050.png").write_bytes(b"")
    (root / "labels.txt").write_text("cat, dog")
    return root


BAD = ("009.png", "040.png")


def objects(text: str) -> list[dict[str, Any]]:
    def never(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=never) for line in text.splitlines()]


# ---- predict -----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_named_and_the_others_go_on(package: Path, folder: Path, tmp_path: Path) -> None:
    ran = in_folder(tmp_path, "predict", package, folder, "--json")
    lines = objects(ran.out)
    assert [Path(line["image"]).name for line in lines] == [f"{i:03}.png" for i in range(MANY) if i != 50]
    assert [Path(line["image"]).name for line in lines if "error" in line] == list(BAD)
    assert all(line.keys() == {"image", "error"} for line in lines if "error" in line)
    said = f"hubft: 2 of {MANY - 1} images have no answer; the reason stands by each\n"
    skipped = re.escape("JPEG2000): '050.png', 'labels.txt'\n" + said)
    assert ran.code == 1 and re.fullmatch(f"hubft: not used, not an image of a known format .*{skipped}", ran.err)

    ran = in_folder(tmp_path, "predict", package, folder)
    named, (*_, last) = ran.err.splitlines()[:2], ran.err.splitlines(keepends=True)
    assert ran.code == 1 and last == said and len(ran.out.splitlines()) == MANY - 3
    assert [line.partition(": ")[0] for line in named] == [str(folder / name) for name in BAD]
    assert ": cannot be decoded: " in named[0]


def test_a_file_that_was_named_is_answered_for_what_it_is(package: Path, folder: Path, tmp_path: Path) -> None:
    named = [folder / "labels.txt", folder / "gone.png", "https://x.org/a.jpg", folder / "000.png"]
    ran = in_folder(tmp_path, "predict", package, *named, "--json")
    errors = [line.get("error") for line in objects(ran.out)]
    assert ran.code == 1 and errors[1] == "no such file" and errors[3] is None
    assert errors[0] == formats.UNKNOWN
    assert errors[2] == "'https://x.org/a.jpg' is a URL: download it first"


def test_batches_say_what_single_images_say(
    package: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = load.filled, []

    def watched(*its: Any) -> Loaded:
        loaded = real(*its)
        loaded.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        return loaded

    monkeypatch.setattr(load, "filled", watched)
    printed = in_folder(tmp_path, "predict", package, folder).out.splitlines()
    assert sizes == [31, 31, 5], "a file that cannot be read leaves its batch to the others"
    model = load.model(load.package(package))
    for line in printed:
        file = Path(line.partition(": ")[0])
        with torch.inference_mode():
            shares = model(model.preprocess(decode.decode(file))[None]).softmax(1)[0].tolist()  # type: ignore[operator]
        order = sorted(zip(packages.CLASSES, shares, strict=True), key=lambda one: -one[1])
        assert line == f"{file}: " + ", ".join(f"{name} {share:.3f}" for name, share in order)


def test_folders_and_texts_from_python(package: Path, folder: Path) -> None:
    found = load.opened(load.package(package))
    every = [(answer.image, answer.said, answer.error) for answer in inference.predict(found, folder)]
    assert len(every) == MANY - 1 and sum(bool(error) for _, _, error in every) == 2
    assert all(bool(said) != bool(error) for _, said, error in every)
    assert [one[0] for one in every] == [one.image for one in inference.predict(found, [str(folder)])]
    [one] = inference.predict(found, str(folder / "000.png"))
    shares = one.said["probabilities"]
    assert set(shares) == set(packages.CLASSES) and sum(shares.values()) == pytest.approx(1)
    assert (one.said["class"], one.said["probability"]) == next(iter(shares.items()))


def test_a_name_that_no_file_system_takes_is_told_of(package: Path, folder: Path, tmp_path: Path) -> None:
    url = "https://x.org/a.jpg?signed=" + "x" * 1000
    for command in (
        ["predict", package, url],
        ["predict", url, folder],
        ["evaluate", package, url],
        ["push", url, "a/b"],
    ):
        ran = in_folder(tmp_path, *command)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1) and "is a URL: download it first" in ran.err
    ran = in_folder(tmp_path, "predict", package, "x" * 1000, folder / "000.png")
    assert ran.code == 1 and ran.err.startswith("x" * 1000 + ": no such file\n")


@pytest.mark.parametrize("paths", ["gone", [], ["gone", "also gone"], ["EMPTY"]])
def test_nothing_to_read_is_told_before_the_model_is_loaded(
    package: Path, paths: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "EMPTY" / "notes.txt").write_text("nothing here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(load, "filled")
    with pytest.raises(DataError, match=r"'gone' does not exist(, nor do 1 more)?$|no images in ('EMPTY'|nothing)"):
        inference.predict(load.opened(load.package(package)), paths)


def test_memory_does_not_grow_with_the_number_of_files(
    package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    real = decode.decode
    monkeypatch.setattr(decode, "decode", lambda path, white: read.append(path) or real(path))
    answers = inference.predict(load.opened(load.package(package)), [folder / "000.png"] * 10_000)
    for number in (1, inference.BATCH, 2 * inference.BATCH):
        list(itertools.islice(answers, inference.BATCH if number > 1 else 1))
        assert len(read) <= number + 2 * inference.BATCH
    answers.close()  # type: ignore[attr-defined]
    assert len(read) <= 4 * inference.BATCH


def test_top_is_how_many_classes_are_shown(package: Path, folder: Path, tmp_path: Path) -> None:
    image = folder / "000.png"
    [every] = objects(in_folder(tmp_path, "predict", package, image, "--json").out)
    [two] = objects(in_folder(tmp_path, "predict", package, image, "--json", "--top", 2).out)
    assert list(two["probabilities"].items()) == list(every["probabilities"].items())[:2]
    assert len(every["probabilities"]) == 3 and two["class"] == every["class"]
    assert in_folder(tmp_path, "predict", package, image, "--top", 9).out.count(",") == 2, "as many as there are"


NAMES = ('a,"b"', "=evil()", "-1", "@x", "2,5", "plain")


def test_csv_is_what_a_spreadsheet_reads(tmp_path: Path, folder: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job().with_outputs(len(NAMES)), NAMES)
    odd = tmp_path / 'line\n"quoted", \x1b[31m.png'
    odd.write_bytes((folder / "001.png").read_bytes())
    ran = in_folder(tmp_path, "predict", "p", folder / "000.png", folder / "009.png", odd, "--csv", "--top", 6)
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert ran.code == 1 and len(rows) == 3 and None not in rows[0]
    heads = list(rows[0])
    assert heads[:5] == ["image", "class", "probability", "class_2", "probability_2"] and heads[-1] == "error"
    assert rows[0]["image"] == str(folder / "000.png") and rows[2]["image"] == visible(str(odd), 4000)
    names = {rows[0][head] for head in heads if head.startswith("class")}
    assert names == {'a,"b"', "'=evil()", "-1", "'@x", "2,5", "plain"}, "no cell is a formula"
    shares = [float(rows[0][head]) for head in heads if head.startswith("probability")]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
    assert rows[1]["error"].startswith("cannot be decoded: ")
    assert not any(value for head, value in rows[1].items() if head not in ("image", "error"))


def test_csv_keeps_numbers_as_they_are() -> None:
    assert csv_line(["-1", "+1.5", -2.5, "-x", "=1", True]) == "-1,+1.5,-2.5,'-x,'=1,True"


def enter(package: Path, file: str, name: str, value: float) -> None:
    """Put a number into every place of a tensor of a package, as a stranger would."""
    state = load_file(package / file)
    state[name].fill_(value)
    save_file(state, package / file)
    packages.refile(package, file)


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """A package of finite weights whose logits are not."""
    packages.write(tmp_path / "p", packages.toy_job())
    for name in ("head.bias", "head.weight"):
        enter(tmp_path / "p", WEIGHTS, name, 3e38)
    return tmp_path / "p"


def test_a_model_that_gives_no_numbers_has_errors_and_not_nan(overflowing: Path, folder: Path, tmp_path: Path) -> None:
    for form in ([], ["--json"], ["--csv"]):
        ran = in_folder(tmp_path, "predict", overflowing, folder / "000.png", folder / "001.png", *form)
        assert ran.code == 1 and "the model gives numbers that are not finite" in ran.out + ran.err
        assert "nan" not in ran.out.lower() and "2 of 2 images have no answer" in ran.err
    data = pictures.folder(tmp_path / "data", packages.CLASSES, 1, 1)
    ran = in_folder(tmp_path, "evaluate", overflowing, data, "--json", "--predictions", "p.csv")
    assert (ran.code, ran.out) == (2, "") and "not finite for 3 of 3 samples, as for" in ran.err
    assert not list(tmp_path.glob("*p.csv"))


# ---- evaluate ----------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    root = pictures.folder(tmp_path / "data", packages.CLASSES, 1, 5)
    (root / "val" / "ant" / "notes.txt").write_text("left out")
    return root


def test_evaluate_for_programs(package: Path, labelled: Path, tmp_path: Path) -> None:
    ran = in_folder(tmp_path, "evaluate", package, labelled, "--json", "--predictions", "p.jsonl")
    assert (ran.code, ran.err) == (0, "")
    [found] = objects(ran.out)
    measured = inference.evaluate(load.opened(load.package(package)), labelled)
    plain = measured.metrics.plain()
    assert {name: found[name] for name in plain} == plain
    assert {"headline", "accuracy", "loss", "recall", "precision", "confusion"} <= plain.keys()
    assert found.keys() - plain.keys() == {"classes", "trained_on", "left_out"}
    assert found["classes"] == list(packages.CLASSES) and found["accuracy"]["n"] == 15
    assert list(found["left_out"]) == ["val/ant/notes.txt"] and found["trained_on"] is None
    rows = objects((tmp_path / "p.jsonl").read_text())
    assert in_folder(tmp_path, "evaluate", package, labelled, "--predictions", "p.csv").code == 0
    table = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert len(rows) == len(table) == 15
    answers = inference.predict(load.opened(load.package(package)), [row["image"] for row in rows])
    for row, cells, answer in zip(rows, table, answers, strict=True):
        assert Path(row["image"]).parent.name == row["class"] == cells["class"]
        assert (row["predicted"], row["correct"]) == (cells["predicted"], cells["correct"] == "true")
        assert (row["predicted"], row["probability"]) == (
            answer.said["class"],
            pytest.approx(answer.said["probability"], rel=1e-4),
        )
        assert float(cells["probability"]) == pytest.approx(row["probability"], abs=1e-6)
    assert sum(row["correct"] for row in rows) == round(15 * found["accuracy"]["value"])


def test_no_metric_that_json_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"accuracy": Measured(0.5, float("-inf"), None, 2)}
    odd = Metrics("accuracy", values, float("inf"), {"recall": [None, {"value": float("nan")}]})
    printing.print_evaluation(
        Console(as_json=True), Classification(("a", "b")), inference.Evaluation(odd, {}, (), None)
    )
    [found] = objects(capsys.readouterr().out)
    assert found["loss"] is None and found["recall"] == [None, {"value": None}]
    assert found["accuracy"] == {"value": 0.5, "low": None, "high": None, "n": 2, "better": "higher"}


def test_a_file_of_outcomes_that_cannot_be_written_later_is_no_file(tmp_path: Path) -> None:
    task = Classification(("x", "y"))
    said = {"class": "y", "probability": 0.5, "probabilities": {"y": 0.5, "x": 0.5}}
    with pytest.raises(KeyboardInterrupt), printing.lines_file(tmp_path / "p.csv", "--predictions") as (form, write):
        printing.write_outcomes([inference.Outcome("a", {"class": "x"}, said, 1.0)], task, "image", form, write)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


# ---- weights and names -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["head.bias", "stem.0.weight", "block.1.running_var"])
@pytest.mark.parametrize("compress", ["none", "bf16"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, compress: str, name: str, value: float) -> None:
    packages.write(tmp_path / "p", packages.toy_job(compress=compress))
    enter(tmp_path / "p", WEIGHTS, name, value)
    said = f"model.safetensors: the tensor '{name}' holds numbers that are not finite"
    with pytest.raises(PackageError, match=f"^{said}$"):
        load.load(tmp_path / "p")


def test_they_are_refused_in_one_line(tmp_path: Path, labelled: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    enter(tmp_path / "p", WEIGHTS, "head.bias", float("nan"))
    for command in (["predict", "p", labelled], ["evaluate", "p", labelled]):
        ran = in_folder(tmp_path, *command)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1) and "not finite" in ran.err


def test_a_self_test_that_infinity_would_pass_is_refused(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    enter(tmp_path / "p", SELFTEST, "logits", float("inf"))
    with pytest.raises(PackageError, match="'logits' holds numbers that are not finite"):
        load.load(tmp_path / "p", prove=True)


def test_weights_that_are_not_finite_are_no_base_and_no_package(
    tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hubft_toy

    packages.write(tmp_path / "full", packages.toy_job())
    fill = hubft_toy.fill

    def broken(model: torch.nn.Module) -> None:
        fill(model)
        with torch.no_grad():
            model.stem[0].weight[0, 0, 0, 0] = float("nan")  # type: ignore[index]

    monkeypatch.setattr(hubft_toy, "fill", broken)
    with pytest.raises(PackageError, match=r"was not written: the tensor 'stem\.0\.weight' holds"):
        packages.write(tmp_path / "p", packages.toy_job())
    assert not (tmp_path / "p").exists()
    ran = in_folder(tmp_path, "finetune", "toy:small", labelled, "--output", "run")
    assert (ran.code, ran.out) == (2, "") and "toy:small: the tensor 'stem.0.weight' holds numbers" in ran.err
    assert not (tmp_path / "run").exists()
    load.load(tmp_path / "full")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("ant", "bee", "ant"), "2 class names are 'ant'"),
        (("ant", "bee", "\x1b[31mcat"), "class '\\x1b[31mcat' holds the control character U+001B"),
        (("ant", "bee", "c\nat"), "holds the control character U+000A"),
        (("ant", "bee", "c\x7fat"), "holds the control character U+007F"),
        (("ant", "bee", "c\u2028at"), "holds the control character U+2028"),
        (("ant", "bee", "c\u202eat"), "holds the control character U+202E"),
        (("ant", "bee", "\udcff"), "holds the control character U+DCFF"),
        (("ant", "bee", ""), "class '' has nothing that can be seen"),
        (("ant", "bee", " \u200b\u3164"), "has nothing that can be seen"),
    ],
)
def test_class_names_that_cannot_be_told_apart_or_shown_are_refused(
    tmp_path: Path, package: Path, names: tuple[str, ...], said: str
) -> None:
    shutil.copytree(package, tmp_path / "p")
    packages.rewrite(tmp_path / "p", lambda data: data["task"].update(classes=names))
    ran = in_folder(tmp_path, "show", "p")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1) and said in ran.err.replace("\\\\", "\\")


@pytest.mark.parametrize("name", ["👩\u200d🌾", "کت\u200cی", "❤\ufe0f", "ज्\u200dञ", "a b", "[red]x", "-rf", "图"])
def test_names_of_all_scripts_are_names(name: str) -> None:
    assert not unprintable(name)
