"""What a run settles before it trains: everything, once, and a run that is resumed takes it from the plan."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy
import pictures
import pytest
import torch
import toy_family
from PIL import Image
from runs import heard, job, killed, listening
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hubft import HubftError, Loaded, engine
from hubft.base.errors import CheckpointError
from hubft.families import plugins
from hubft.images import transforms
from hubft.images.decode import decode
from hubft.job import Recipe
from hubft.machine import choose
from hubft.run import budget as budgets
from hubft.run import plan, probing
from hubft.run.folder import Run
from hubft.train.probe import Probe
from hubft.train.schedule import lr_factor

AUTO = {"lr": 0.0}


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of which three of each class are taken for the next class: no head knows them all."""
    root = pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=20, val=8)
    for name, other in (("ants", "bees"), ("bees", "wasps"), ("wasps", "ants")):
        for i in range(3):
            (root / "train" / name / f"{i}.png").rename(root / "train" / other / f"from-{name}-{i}.png")
    return root


def settled(run: Run) -> Any:
    return json.loads(run.plan_file.read_text())


def test_nothing_is_left_to_choose(insects: Path, tmp_path: Path) -> None:
    asked = job(insects, tmp_path / "run", recipe=AUTO, compute={"workers": -1})
    result, console = heard(asked)
    its = settled(result.run)
    assert its["probe"]["error"] > 0.1
    recipe, compute = its["job"]["recipe"], its["job"]["compute"]
    for part in (compute, its["forward"]):
        assert part["device"] == "cpu" and part["precision"] == "fp32" and part["memory_format"] == "channels_last"
        assert part["compile"] == "off" and part["threads"] >= 1 and part["workers"] >= 0
    left = {name for name, value in (recipe | compute | its["forward"]).items() if value == "auto"}
    assert left == {"loss"}, "which is that of the task, and no choice"
    steps = recipe["epochs"] * -(-60 // recipe["batch_size"])
    assert recipe["lr"] == probing.learning_rate(Probe(**its["probe"]), 60, steps) > 0 and recipe["epochs"] == 2
    assert its["machine"]["notes"] == [f"not measured: in fp32 the run would compute for {_predicted(its)} s"]
    assert result.run.job() == replace(asked, data=str(insects), head=replace(asked.head, outputs=3)), "as it was asked"
    assert len(console.about("machine ")) == len(console.about("probe ")) == len(console.about("recipe ")) == 1
    peak = max(line["lr"] for line in result.run.history())
    assert 0 < peak <= recipe["lr"]


def _predicted(its: Any) -> float:
    predicted: float = its["machine"]["predicted_seconds"]
    return predicted


@pytest.mark.parametrize("step", [2, 10])
def test_a_resumed_run_does_not_ask_again(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    asked = {"recipe": AUTO | {"epochs": 3, "budget": "1h"}, "compute": {"checkpoint_every": 4}}
    whole = engine.finetune(job(insects, tmp_path / "whole", **asked)).run
    run = killed(job(insects, tmp_path / "run", **asked), step, monkeypatch)
    assert run.checkpoints.exists() == (step > 4) and not run.package.exists()
    before = run.plan_file.read_bytes()
    for module, name in ((choose, "choose"), (plan, "learning_rate"), (plan, "augmentation")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("it was settled before"))
    result = engine.resume(run.folder)
    assert run.plan_file.read_bytes() == before
    for file in ("package/model.safetensors", "checkpoints/step-00000012/state.safetensors"):
        assert (run.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file
    assert result.run.history()[-1]["lr"] == whole.history()[-1]["lr"]


def test_what_is_in_the_plan_is_what_a_resumed_run_does(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what it would settle now."""
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))
    run = killed(job(insects, tmp_path / "run", recipe=AUTO | {"epochs": 3, "train": "head"}), 6, monkeypatch)
    its = settled(run)
    its["forward"]["precision"] = "bf16"
    its["job"]["recipe"] |= {"epochs": 2, "lr": 0.25, "schedule": "constant"}
    its["job"]["compute"]["memory_format"] = "channels_last"
    run.plan_file.write_text(json.dumps(its))
    result = engine.resume(run.folder)
    assert [line["epoch"] for line in result.run.history()] == [1, 2]
    assert result.run.history()[-1]["lr"] == 0.25
    manifest = json.loads((result.run.package / "hubft.json").read_text())
    sizes = {path.stat().st_size for path in (tmp_path / "cache" / "features").glob("*/features")}
    assert sizes == {60 * 32 * 4, 60 * 32 * 2, 24 * 32 * 4}  # of training features in fp32, in bf16, and of validation
    assert manifest["settled"]["memory format"] == "channels_last" and manifest["settled"]["epochs"] == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job": {}}'])
def test_a_plan_that_cannot_be_read_is_one_line(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    run = killed(job(insects, tmp_path / "run"), 3, monkeypatch)
    run.plan_file.write_text(text)
    with pytest.raises(HubftError) as caught:
        engine.resume(run.folder)
    assert isinstance(caught.value, CheckpointError) and "\n" not in str(caught.value)
    assert f"{str(run.plan_file)!r} cannot be read" in str(caught.value)
    assert str(caught.value).endswith("remove it, and resume")
    run.plan_file.unlink()
    assert engine.resume(run.folder).run.package.exists()


# --- the budget -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [{"budget": "0.01s", "epochs": 5}, {"epochs": 0}])
def test_without_time_or_epochs_the_package_is_the_probe(insects: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    result, console = heard(job(insects, tmp_path / "run", recipe=AUTO | recipe))
    its = settled(result.run)
    assert its["job"]["recipe"]["epochs"] == 0 and result.run.history() == []
    tuned = load_file(result.run.package / "model.safetensors")
    loaded = plugins.manager("toy").hook.load(name="small", pretrained=True, config={}, task="")
    base = loaded.model.state_dict()
    for name, tensor in base.items():
        assert name.startswith("head") or torch.equal(tensor, tuned[name]), name
    # its head is at the minimum of the regularised cross entropy: the gradient there is nothing
    transform = transforms.evaluation(loaded.preprocess)
    paths = sorted((insects / "train").rglob("*.png"))
    with torch.no_grad():
        images = torch.stack([transform(decode(path)) for path in paths])
        model = loaded.model.eval()
        features = model.block(model.stem(images)).mean((2, 3)) * model.taper
    targets = torch.tensor([("ants", "bees", "wasps").index(path.parent.name) for path in paths])
    weight, bias = (tuned[f"head.{part}"].requires_grad_() for part in ("weight", "bias"))
    decay = its["probe"]["decay"] * features.square().mean()
    loss = cross_entropy(features @ weight.T + bias, targets) + decay / 2 * weight.square().sum()
    gradient = torch.autograd.grad(loss, [weight, bias])
    assert all(part.abs().max() < 1e-3 for part in gradient) and weight.abs().max() > 0.1
    assert result.metrics.values["accuracy"].value > 0.5  # chance is 0.33
    assert asdict(result.metrics.values["accuracy"]) == its["probed"]["accuracy"]
    assert console.about("recipe") == ["recipe   0 epochs: the head as it was solved"]
    manifest = json.loads((result.run.package / "hubft.json").read_text())
    assert "peak learning rate" not in manifest["settled"]
    frozen = {name for name, tensor in tuned.items() if not name.startswith("head")}
    assert manifest["frozen"]["tensors"] == len(frozen) and console.about(
        f"proved   not a bit moved in the {len(frozen)} "
    )


def test_a_large_budget_gives_the_epochs_that_were_asked_for(insects: Path, tmp_path: Path) -> None:
    result, _ = heard(job(insects, tmp_path / "run", recipe={"budget": "1h", "epochs": 3}))
    assert settled(result.run)["job"]["recipe"]["epochs"] == 3 == len(result.run.history())


@pytest.mark.parametrize(("budget", "epochs"), [("110s", 3), ("1m", 1)])
def test_as_many_epochs_as_the_budget_has_time_for(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, epochs: int
) -> None:
    """An epoch of 60 images is measured to take 30 s, and the schedule is that of the epochs there are."""
    real = choose.choose
    monkeypatch.setattr(choose, "choose", lambda *its: replace(real(*its), step_seconds=0.5, forward_seconds=0.01))
    result, _ = heard(job(insects, tmp_path / "run", recipe={"budget": budget, "epochs": 50}))
    history, steps = result.run.history(), 4 * epochs
    assert len(history) == epochs
    assert history[-1]["lr"] == pytest.approx(0.02 * lr_factor(Recipe(), steps - 1, steps))


@pytest.mark.parametrize(
    ("budget", "taken", "epochs"),
    [("20000s", 60, 8), ("3200s", 60, 1), ("2000s", 34, 1), ("100s", 25, 0)],
    ids=["all of it", "an epoch", "a part of an epoch", "a part of the probe"],
)
def test_a_budget_below_an_epoch_takes_as_many_samples_as_fit(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, taken: int, epochs: int
) -> None:
    """A sample is measured to take 36 s in a step, 4 s in the probe, in each of two measurements and in a last look."""
    real = choose.choose
    monkeypatch.setattr(choose, "choose", lambda *its: replace(real(*its), step_seconds=36.0, forward_seconds=4.0))
    monkeypatch.setattr(budgets, "FEWEST", 25)
    asked = job(insects, tmp_path / "run", recipe={"budget": budget, "epochs": 8})
    result, console = heard(asked)
    assert len(result.run.history()) == epochs
    manifest = json.loads((result.run.package / "hubft.json").read_text())
    part = console.about("budget")
    if taken == 60:
        assert not part and "training samples taken" not in manifest["settled"]
        return
    there = manifest["settled"]["training samples taken"]
    assert abs(there - taken) <= 2 and part == [
        f"budget   {budget} has time for {there} of 60 training images: a longer one takes more"
    ]
    assert manifest["data"]["train"]["samples"] == 60 and result.metrics.values["accuracy"].value > 0.5
    steps = [line["step"] for line in result.run.history()]
    assert steps == [-(-there // 16) * epoch for epoch in range(1, epochs + 1)]


def test_a_run_of_a_part_of_the_samples_is_resumed_to_the_same_bits(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = choose.choose
    monkeypatch.setattr(choose, "choose", lambda *its: replace(real(*its), step_seconds=36.0, forward_seconds=4.0))
    monkeypatch.setattr(budgets, "FEWEST", 25)
    recipe = {"budget": "2000s", "epochs": 8}
    whole = engine.finetune(job(insects, tmp_path / "whole", recipe=recipe))
    run = killed(job(insects, tmp_path / "killed", recipe=recipe), 2, monkeypatch)
    assert settled(run)["rows"] == settled(whole.run)["rows"] == 34
    again = engine.resume(run.folder)
    first, second = (load_file(one.run.package / "model.safetensors") for one in (whole, again))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_without_a_probe_there_is_at_least_one_epoch(insects: Path, tmp_path: Path) -> None:
    result, console = heard(job(insects, tmp_path / "run", recipe={"budget": "0.01s", "epochs": 5, "probe": False}))
    assert len(result.run.history()) == 1 and not console.about("probe ")
    assert settled(result.run)["probe"] is None


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_run_that_is_measured_settles_too(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    monkeypatch.setattr(choose, "SHORT", 0.0)
    result, console = heard(job(insects, tmp_path / "run", recipe=AUTO | {"epochs": epochs}))
    its = settled(result.run)
    assert its["machine"]["table"] and "measured for" in console.about("machine ")[0]
    assert result.metrics.values["accuracy"].value > 0.5


# --- the learning rate ------------------------------------------------------------------------------------------


def test_the_learning_rate_grows_with_what_the_probe_gets_wrong() -> None:
    def rate(error: float, images: int, steps: int = 10**6) -> float:
        return probing.learning_rate(Probe(0.1, 1.0, error, images), images, steps)

    assert rate(0.0, 100) == probing.LEAST and rate(0.9, 10**6) == probing.MOST
    rates = [rate(error, 1000) for error in (0.0, 0.01, 0.02, 0.1, 0.5)]
    assert rates == sorted(rates) and len(set(rates)) >= 4
    assert rate(0.1, 500) < rate(0.1, 1000) and rate(0.1, 1000) == pytest.approx(rate(0.2, 500))
    assert rate(0.9, 10**6, 5) < rate(0.9, 10**6, 20) < rate(0.9, 10**6, 1000) == probing.MOST
    assert probing.LEAST < probing.learning_rate(None, 1000, 1000) <= probing.MOST


def test_of_a_model_that_nobody_trained_nothing_is_held_back() -> None:
    found = probing.held_by_nothing(Recipe(), exact=False)
    assert (found.train, found.layer_decay, found.lr) == ("all", 1.0, probing.MOST)
    given = Recipe(train="head,stem", layer_decay=0.5, lr=0.01)
    assert probing.held_by_nothing(given, exact=False) == given
    assert probing.held_by_nothing(Recipe(), exact=True).train == Recipe.train


def test_a_learning_rate_that_was_given_stays(insects: Path, tmp_path: Path) -> None:
    result, _ = heard(job(insects, tmp_path / "run", recipe={"lr": 0.0123}))
    assert settled(result.run)["job"]["recipe"]["lr"] == 0.0123
    assert Recipe().lr == 0


# --- the augmentation -------------------------------------------------------------------------------------------


class Sides(toy_family.Small):
    """A network that sees where something is."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32 * 4, toy_family.CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(nn.functional.adaptive_avg_pool2d(self.block(self.stem(images)), 2).flatten(1))


def sides(root: Path) -> Path:
    """Write pictures of two classes, which are mirrored pictures of each other, and return root."""
    random = numpy.random.default_rng(0)
    for part, count in (("train", 30), ("val", 10)):
        for name in ("left", "right"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.normal(110, 40, (36, 36, 3))
                pixels[:, :18] += 60 if name == "left" else 0
                pixels[:, 18:] += 60 if name == "right" else 0
                Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(root / part / name / f"{i}.png")
    return root


def load_sides(name: str, pretrained: bool) -> Loaded:
    return toy_family.build("toy", name, pretrained, Sides)


def test_light_augmentation_is_taken_where_the_probe_knows_images_by_it(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(monkeypatch, load=load_sides)
    mirrored = sides(tmp_path / "sides")
    for number, (data, asked, settles) in enumerate(
        ((insects, "auto", "light"), (mirrored, "auto", "none"), (mirrored, "light", "light"))
    ):
        result, _ = heard(job(data, tmp_path / str(number), recipe={"augment": asked, "epochs": 1}))
        assert settled(result.run)["job"]["recipe"]["augment"] == settles
        if data == mirrored:
            assert settled(result.run)["probed"]["accuracy"]["value"] > 0.9
    result, _ = heard(job(mirrored, tmp_path / "blind", recipe={"probe": False, "epochs": 1}))
    assert settled(result.run)["job"]["recipe"]["augment"] == "light", "nothing tells"


def test_the_pace_is_that_of_training_alone(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(model: nn.Module) -> None:
        if not model.training:
            time.sleep(1)

    listening(monkeypatch, train_step=late)
    result, _ = heard(job(insects, tmp_path / "run", recipe={"probe": False, "train": "all"}))
    images = sum(1 for file in (insects / "train").rglob("*") if file.is_file())
    assert all(line["images_per_second"] > images for line in result.run.history())
