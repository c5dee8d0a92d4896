"""What a run checks at its end: norm statistics fit the weights, and training did not lose what the probe had."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
import toy_family
from commands import exit_code
from runs import Heard, heard, job, killed, listening
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

from hubft import Base, Loaded, Preprocess, engine
from hubft.base.errors import Diverged
from hubft.engine import Result
from hubft.run.folder import Run
from hubft.share import inference, load
from hubft.train import norms

MENDED = r"mended   norm statistics lagged behind: loss on training images (\d+\.\d+) -> (\d+\.\d+)"
KEPT = (
    r"mended   training ended with an error of [\d.]+% on its images, its probe with [\d.]+% on them and [\d.]+% "
    r"on images unseen: the probe is kept; try a lower --lr"
)


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=32, val=12)


def weights(result: Result) -> dict[str, Tensor]:
    return load_file(result.run.package / "model.safetensors")


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that have equal bits in both."""
    return {
        name for name in first if first[name].shape == second[name].shape and torch.equal(first[name], second[name])
    }


def slow(momentum: float, *names: str) -> Callable[..., Loaded]:
    """Return a hook `load` that gives the toy network with statistics of these norms that hardly move."""

    def net() -> nn.Module:
        model = toy_family.Small()
        for name in names:
            model.get_submodule(name).momentum = momentum
        return model

    def load(name: str, pretrained: bool) -> Loaded:
        return toy_family.build("toy", name, pretrained, net)

    return load


# --- the probe is the floor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", ["all", "all,-norms"])
@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_training_that_diverges_ends_with_the_probe(
    insects: Path, tmp_path: Path, train: str, averaging: float
) -> None:
    recipe = {"train": train, "averaging": averaging, "clip": 0.0}
    probe, _ = heard(job(insects, tmp_path / "probe", recipe=recipe | {"epochs": 0}))
    wild, console = heard(job(insects, tmp_path / "wild", recipe=recipe | {"lr": 10.0, "epochs": 3}))
    assert same(weights(wild), weights(probe)) == weights(probe).keys()
    assert wild.metrics.values["accuracy"] == probe.metrics.values["accuracy"]
    assert wild.metrics.loss == pytest.approx(probe.metrics.loss, rel=1e-5)
    assert wild.run.history()[-1]["accuracy"]["value"] < probe.metrics.values["accuracy"].value
    assert sum(bool(re.fullmatch(KEPT, line)) for line in console.lines) == 1


def test_a_resumed_run_still_has_its_probe(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"train": "all", "clip": 0.0}
    probe, _ = heard(job(insects, tmp_path / "probe", recipe=recipe | {"epochs": 0}))
    asked = job(insects, tmp_path / "wild", recipe=recipe | {"lr": 10.0, "epochs": 3}, compute={"checkpoint_every": 4})
    run = killed(asked, 10, monkeypatch)
    assert run.checkpoints.exists()
    wild = engine.resume(run.folder)
    assert same(weights(wild), weights(probe)) == weights(probe).keys()


def test_training_that_learns_is_kept(insects: Path, tmp_path: Path) -> None:
    recipe = {"train": "all,-norms", "epochs": 3, "lr": 0.003}
    probe, _ = heard(job(insects, tmp_path / "probe", recipe=recipe | {"epochs": 0}))
    tuned, console = heard(job(insects, tmp_path / "tuned", recipe=recipe))
    assert not console.about("mended")
    moved = weights(tuned).keys() - same(weights(tuned), weights(probe))
    assert {"stem.0.weight", "block.0.weight", "head.weight"} <= moved
    assert tuned.metrics.loss == tuned.run.history()[-1]["val_loss"]


WILD = {"train": "all,-norms", "lr": 10.0, "probe": False, "clip": 0.0}
SAID = r"training diverged: on its training images the loss is [\d.e+]+ and the error \d+%, where a model that knows "


@pytest.mark.parametrize("recipe", [{"train": "all", "lr": 100.0}, {"clip": 1.0}, {}], ids=["wild", "clipped", "dead"])
def test_without_a_probe_a_training_that_diverged_is_not_packaged(
    insects: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    asked = job(insects, tmp_path / "run", recipe=WILD | recipe)
    with pytest.raises(
        Diverged, match=SAID + "nothing has 1.1, .* try a lower lr than 1.* --resume .*/run --keep-anyway"
    ):
        engine.finetune(asked)
    run = Run(tmp_path / "run")
    assert not run.package.exists() and any(run.checkpoints.iterdir())
    assert {path.name for path in run.report.iterdir()} >= {"results.json", "curves.png", "index.html"}
    with pytest.raises(Diverged, match=SAID):
        engine.resume(run.folder)
    console = Heard()
    result = engine.resume(run.folder, console, keep_anyway=True)
    assert len(console.about("note: training diverged")) == 1 and result.metrics.loss > 1.5
    assert load.package(str(run.folder)).manifest.job.keep_anyway


def test_the_command_that_diverged_exits_with_one(
    insects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = f"--no-probe --lr 100 --epochs 1 --workers 0 --device cpu --output {tmp_path / 'run'}"
    assert exit_code("finetune", "toy:small", insects, *options.split()) == 1
    assert re.fullmatch(f"hubft: {SAID}.*\n", capsys.readouterr().err)


def test_weights_that_are_no_numbers_are_not_packaged_by_any_option(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, Tensor]:
        outputs = model(batch[0]) * (1 if model.training else float("nan"))
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    listening(monkeypatch, train_step=train_step)
    with pytest.raises(Diverged, match="gives no finite numbers; no package was made"):
        engine.finetune(job(insects, tmp_path / "run", recipe={"probe": False}, keep_anyway=True))


@pytest.mark.parametrize(
    "recipe",
    [
        {"lr": 1e-12},
        {"lr": 1e-4, "augment": "strong"},
        {"lr": 0.05, "smoothing": 0.5},
        {"lr": 0.1, "train": "head"},
        {"lr": 0.02, "train": "all", "optimizer": "sgd"},
    ],
)
def test_a_training_that_learns_little_is_no_false_alarm(insects: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    result, console = heard(job(insects, tmp_path / "run", recipe={"probe": False, "epochs": 1} | recipe))
    assert result.run.package.exists() and not console.about("note: training diverged")


def test_a_model_that_knows_nothing_is_told(insects: Path, tmp_path: Path) -> None:
    nothing = {"probe": False, "lr": 1e-12, "epochs": 1}
    _, console = heard(job(insects, tmp_path / "run", recipe=nothing))
    assert console.about("note: it gets no more right than a model that always says 'ants'")
    _, console = heard(job(insects, tmp_path / "probed"))
    assert not console.about("note: it gets")


# --- norm statistics --------------------------------------------------------------------------------------------


def mobilenet(name: str, pretrained: bool) -> Loaded:
    """A real network that fails in a short run: its norms have a momentum of 0.01."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mobilenet_v3_small(num_classes=10)
    stages = {"features": ("features",), "head": ("classifier",)}
    preprocess = Preprocess(size=(48, 48), resize=48)
    return Loaded(model, "classifier.3", stages, preprocess, Base("toy:small", revision="1", license="cc0-1.0"))


def test_a_short_run_of_mobilenet_v3_is_good_in_eval_mode(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(monkeypatch, load=mobilenet)
    recipe = {"train": "all", "probe": False, "epochs": 6, "lr": 2e-3, "augment": "none", "layer_decay": 1.0}
    result, console = heard(job(insects, tmp_path / "run", recipe=recipe))
    before, after = result.run.history()[-1]["accuracy"]["value"], result.metrics.values["accuracy"].value
    assert before <= 0.45 and after > 0.8, (before, after)  # chance is 0.33
    (line,) = console.about("mended")
    was, now = map(float, re.fullmatch(MENDED, line).groups())  # type: ignore[union-attr]
    assert now < 0.5 * was
    measured = inference.evaluate(load.opened(load.package(str(tmp_path / "run"))), insects).metrics
    assert measured.values["accuracy"] == result.metrics.values["accuracy"]


def test_frozen_norms_are_not_touched(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listening(monkeypatch, load=slow(1e-4, "stem.1", "block.1"))
    base = toy_family.build("toy", "small", True, toy_family.Small).model.state_dict()
    recipe = {"train": "head, block", "probe": False, "epochs": 4, "lr": 0.05, "layer_decay": 1.0}
    result, console = heard(job(insects, tmp_path / "run", recipe=recipe))
    assert [bool(re.fullmatch(MENDED, line)) for line in console.about("mended")] == [True]
    kept = same(base, weights(result))
    assert {name for name in base if name.startswith("stem")} <= kept
    assert not {"block.1.running_mean", "block.1.running_var"} & kept
    assert len(console.about("proved   not a bit moved in the ")) == 1
    result, console = heard(job(insects, tmp_path / "held", recipe=recipe | {"train": "all,-norms"}))
    assert not console.about("mended")
    assert {name for name in base if name.startswith(("stem.1", "block.1"))} <= same(base, weights(result))


def test_statistics_that_do_not_lower_the_loss_are_taken_back(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = norms.estimate

    def worse(loaded: Loaded, its: dict[str, nn.Module], batches: Any) -> dict[str, Tensor]:
        before = real(loaded, its, batches)
        loaded.model.get_buffer("block.1.running_mean").add_(100.0)
        return before

    monkeypatch.setattr(norms, "estimate", worse)
    recipe = {"train": "all", "probe": False, "epochs": 1, "averaging": 0.0}
    result, console = heard(job(insects, tmp_path / "run", recipe=recipe))
    assert not console.about("mended")
    (checkpoint,) = result.run.checkpoints.iterdir()
    trained = {f"model/{name}": tensor for name, tensor in weights(result).items()}
    assert same(trained, load_file(checkpoint / "state.safetensors")) == trained.keys()
    assert result.metrics.loss == result.run.history()[-1]["val_loss"]
