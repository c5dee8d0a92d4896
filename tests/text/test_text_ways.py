"""What becomes of a model of text: every way that there is for images, on a tiny one."""

from pathlib import Path
from typing import Any

import pytest
import texts
from safetensors.numpy import load_file

import hubft as module
from hubft import Job, engine
from hubft.base.errors import ExportError
from hubft.deploy.export import export, formats, running
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.export import SELFTEST
from hubft.job import Recipe

transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
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
    reason = f"the extra is not installed: pip install 'hubft[{form.extra}]'"
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
