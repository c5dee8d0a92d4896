"""What becomes of a model of text: every way that there is for images, on a tiny one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import texts
import torch
from commands import Hubft
from extras import NOT_INSTALLED, needs
from safetensors.numpy import load_file

import hubft as module
from hubft import HubftError, Job, engine
from hubft.base.errors import ExportError
from hubft.deploy.export import export, formats, running
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.export import SELFTEST
from hubft.job import Compute, Head, Recipe, Teaching
from hubft.share import load

transformers = needs("transformers", "transformers")
RECIPE = Recipe(epochs=6, batch_size=16, lr=3e-3)
ASKED = ("the lovely film", "a dull / grey book 😀", "the film", "the dull book song meal room film book song great")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.model(tmp_path_factory.mktemp("model") / "tiny", initializer_range=0.2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.table(tmp_path_factory.mktemp("data") / "reviews.csv", 160)


@pytest.fixture(scope="module")
def made(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> engine.Result:
    job = Job(f"transformers:{model}", data, recipe=RECIPE, output=tmp_path_factory.mktemp("run") / "reviews")
    return engine.finetune(job)


@pytest.fixture(scope="module")
def package(made: engine.Result) -> Path:
    return made.run.package


def there(name: str) -> Any:
    form = formats.named(name)
    missing = [one for one in (*form.writers, *form.runtime) if not formats.importlib.util.find_spec(one)]
    reason = NOT_INSTALLED.format(form.extra)
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=reason))


# ---- exported files ----------------------------------------------------------------------------------


def asked(name: str, folder: Path, **options: Any) -> Asked:
    return Asked(name, output=str(folder / f"a{formats.named(name).suffix}"), **options)


@pytest.mark.parametrize("name", [there("onnx"), there("openvino"), there("pt2"), there("torchscript")])
def test_a_file_takes_texts_of_any_length_and_answers_as_its_package(name: str, package: Path, tmp_path: Path) -> None:
    made = export.export(package, asked(name, tmp_path))
    assert made.about.batch == 0 and not made.about.whole
    answers(made.path, package)
    assert (tmp_path / f"{made.path.name}.tokenizer.json").read_bytes() == (package / "tokenizer.json").read_bytes()
    kept = load_file(f"{made.path}{SELFTEST}")
    with running.fresh(formats.named(name), made.path, 1, True) as run:
        [found] = run(kept["input_ids"], kept["attention_mask"])
        assert found == pytest.approx(kept["outputs"], abs=1e-4)
        with pytest.raises(ExportError):
            run(kept["input_ids"], kept["attention_mask"][:, :-1])


@pytest.mark.parametrize("name", [there("executorch"), pytest.param("aoti", marks=pytest.mark.timeout(900))])
def test_a_file_of_one_size_has_texts_filled_up(name: str, package: Path, tmp_path: Path) -> None:
    made = export.export(package, asked(name, tmp_path))
    assert (made.about.batch, made.about.whole) == (1, True)
    assert "batches of 1, filled up to texts of 16 tokens at most" in "\n".join(made.lines())
    answers(made.path, package)


def answers(file: Path, package: Path) -> None:
    ours, theirs = module.predict(file, ASKED, trust=True), module.predict(package, ASKED)
    for one, other in zip(ours, theirs, strict=True):
        assert one.said["class"] == other.said["class"]
        assert one.said["probabilities"] == pytest.approx(other.said["probabilities"], abs=1e-4)


def test_what_is_made_for_pixels_is_refused_in_a_line(package: Path, hubft: Hubft) -> None:
    ran = hubft("export", package, "--format", "torchscript", "--with-preprocess", "--output", "a.ts")
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "--with-preprocess is for models of images, and this one takes texts of 16 tokens at most" in ran.err


@pytest.mark.parametrize("name", [there("onnx"), there("openvino")])
def test_int8_is_judged_by_texts(name: str, package: Path, data: Path, tmp_path: Path, hubft: Hubft) -> None:
    file = tmp_path / f"a{formats.named(name).suffix}"
    words = ["--precision", "int8", "--data", data, "--max-drop", "20", "--output", file]
    ran = hubft("export", package, "--format", name, *words)
    assert ran.code == 0, ran.err
    assert "on 32 validation texts, agreement" in ran.out and f"hubft predict {file} TEXT" in ran.out
    said = hubft("predict", file, "the lovely film", "--json")
    assert json.loads(said.out)["text"] == "the lovely film"
    measured = json.loads(hubft("evaluate", file, data, "--json").out)
    assert measured["accuracy"]["value"] > 0.6


def test_a_file_without_its_tokenizer_does_not_answer(package: Path, tmp_path: Path, hubft: Hubft) -> None:
    file = export.export(package, asked("torchscript", tmp_path)).path
    beside = tmp_path / f"{file.name}.tokenizer.json"
    beside.write_text(beside.read_text().replace('"lovely"', '"lovelx"'))
    ran = hubft("predict", file, "a text", "--trust")
    assert ran.code == 2 and f"{beside.name} was altered" in ran.err
    beside.unlink()
    ran = hubft("predict", file, "a text", "--trust")
    assert ran.code == 2 and f"{beside.name} is missing" in ran.err


# ---- compressed, taught, published -------------------------------------------------------------------


def fit(model: Path, data: Path, output: Path, **options: Any) -> engine.Result:
    recipe = replace(RECIPE, epochs=2, **options.pop("recipe", {}))
    return engine.finetune(Job(f"transformers:{model}", data, recipe=recipe, output=output, **options))


@pytest.mark.parametrize("how", ["bf16", "int8"])
def test_it_is_compressed(how: str, made: engine.Result, data: Path, tmp_path: Path) -> None:
    result = engine.compress(str(made.run.folder), str(data), how, tmp_path / "small")
    assert result.metrics.head.value > 0.6
    load.load(result.run.package, prove=True)


def test_what_cannot_be_pruned_is_refused_before_the_training(model: Path, data: Path, tmp_path: Path) -> None:
    needs("torch_pruning", "prune")
    with pytest.raises(HubftError, match=r"cannot be pruned by Torch-Pruning.*int8 makes any model smaller"):
        fit(model, data, tmp_path / "run", compress="prune:0.5")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("train", ["head", "last:1", "head,last:1@0.5"])
def test_the_frozen_part_stays_and_the_package_is_whole(train: str, model: Path, data: Path, tmp_path: Path) -> None:
    result = fit(model, data, tmp_path / "run", recipe={"train": train})
    proved = load.load(result.run.package, prove=True).state_dict()
    base = transformers.AutoModel.from_pretrained(model).state_dict()
    assert torch.equal(proved["bert.embeddings.word_embeddings.weight"], base["embeddings.word_embeddings.weight"])


def test_texts_may_be_as_long_as_the_model_takes(data: Path, tmp_path: Path) -> None:
    short = texts.model(tmp_path / "short", max_position_embeddings=4)
    result = fit(short, data, tmp_path / "run", recipe={"train": "last:1"})
    assert load.package(result.run.package).manifest.inputs.length == 4  # type: ignore[union-attr]


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "layer-wise": ({"layer_decay": 0.5, "body_lr": 0.2, "stage_lr": ("stem=0.0001",)}, {}),
    "thawing": ({"train": "head,bert.encoder.layer.1@0.3,match:attention@0.6"}, {}),
    "balance": ({"class_weights": ("good=1.5",), "loss": "focal", "sampler": "balanced", "smoothing": 0.05}, {}),
    "state": ({"averaging": 0.0, "keep": "best", "patience": 2}, {}),
    "optimizer": ({"optimizer": "sgd", "schedule": "one-cycle", "l1": 1e-6, "clip": 0.0}, {}),
    "head": ({}, {"head": Head(hidden=(16,), dropout=0.1)}),
    "memory": ({"accumulate": 3}, {"compute": Compute(checkpoint_activations=True, precision="bf16", cache=0.0)}),
    "delta": ({"train": "last:1"}, {"package": "delta"}),
    "dropped": ({"augment": "light", "train": "head", "views": 2}, {}),
}
"""What is asked for -> of the recipe, and beside it."""


@pytest.mark.parametrize("way", WAYS)
def test_every_way_ends_in_a_package_that_proves_itself(way: str, model: Path, data: Path, tmp_path: Path) -> None:
    recipe, options = WAYS[way]
    package = fit(model, data, tmp_path / "run", recipe=recipe, **options).run.package
    load.load(package, prove=True)
    stated = json.loads((package / "hubft.json").read_text())["job"]["recipe"]
    assert {name: stated[name] for name in recipe} == {
        name: list(one) if isinstance(one, tuple) else one for name, one in recipe.items()
    }


def test_features_of_a_teacher_are_learned(made: engine.Result, model: Path, data: Path, tmp_path: Path) -> None:
    teaching = Teaching(teacher=str(made.run.folder), hints=1.0, baseline=False)
    package = fit(model, data, tmp_path / "run", teaching=teaching).run.package
    load.load(package, prove=True)
    assert json.loads((package / "hubft.json").read_text())["job"]["teaching"]["hints"] == 1.0


def test_texts_answer_together_but_have_no_mirror_image(made: engine.Result, data: Path) -> None:
    text, package = ["a good film"], str(made.run.package)
    with pytest.raises(HubftError, match="tta flips: it has no meaning here, a text is no picture; leave it out"):
        module.evaluate(package, data, tta="flips")
    alone, twice = (module.predict(package, text, others=its)[0].said for its in ((), [made.run.folder]))
    assert twice["probability"] == pytest.approx(alone["probability"], abs=1e-6)


def test_it_is_computed_in_int8_by_torchao(made: engine.Result, data: Path, tmp_path: Path) -> None:
    needs("torchao", "torchao")
    result = engine.compress(str(made.run.folder), str(data), "torchao:int8dq", tmp_path / "small")
    assert result.metrics.head.value > 0.6
    load.load(result.run.package, prove=True)


def test_a_package_of_texts_teaches(made: engine.Result, model: Path, data: Path, tmp_path: Path) -> None:
    job = Job(f"transformers:{model}", data, recipe=replace(RECIPE, epochs=1), output=tmp_path / "student")
    result = engine.finetune(job.taught_by(str(made.run.folder)))
    assert result.beside is not None and result.beside.teacher is not None


def test_the_benchmark_is_timed_at_the_full_length(made: engine.Result, data: Path, tmp_path: Path) -> None:
    from hubft.deploy import benchmark

    asked_for = benchmark.Asked(("int8",), seconds=0.1, output=str(tmp_path / "benchmark"))
    found = benchmark.compare(str(made.run.folder), str(data), asked_for)
    assert [row.failure for row in found.rows] == ["", ""]
    assert (found.facts["word"], found.facts["timed"]) == ("text", "texts of 16 tokens at most")
