"""The loop: what trains, what stands still, what stops it."""

import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pictures
import pluggy
import pytest
import torch
from torch import nn

from hubft import HubftError, Job, Loaded, hookimpl, plugins
from hubft.build import build
from hubft.errors import FamilyError, TrainingError
from hubft.job import Compute, Recipe, Task
from hubft.train import data, frozen, loader, loop, recipe, stages, transforms
from hubft.train.decode import decode
from hubft.train.pixels import Views
from hubft.train.runtime import Runtime

CPU = Compute(device="cpu", workers=0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> data.Images:
    return data.read(pictures.folder(tmp_path_factory.mktemp("data")), 0.2, 0)


@pytest.fixture
def pm() -> pluggy.PluginManager:
    return plugins.manager("toy")


@pytest.fixture
def train(images: data.Images, pm: pluggy.PluginManager) -> Callable[..., tuple[loop.State, list[loop.Step]]]:
    """Train `toy:small` by a recipe to the end; return the state and the steps."""

    def run(compute: Compute = CPU, **options: Any) -> tuple[loop.State, list[loop.Step]]:
        recipe = Recipe(**{"epochs": 2, "batch_size": 9, "lr": 0.02, "seed": 3} | options)
        torch.manual_seed(0)
        loaded = build(pm, Job("toy:small", "-", task=Task(outputs=3, dropout=0.1)), pretrained=True)
        runtime = Runtime(compute)
        state = loop.start(loaded, recipe, runtime, 3)
        sampler = loader.Batches(len(images.train), recipe.batch_size, recipe.epochs, recipe.seed)
        views = Views(images.folder, images.train, loaded.preprocess, recipe)
        batches = loader.batches(views, sampler, runtime)
        return state, list(loop.fit(pm, state, recipe, batches, runtime))

    return run


def overriding(pm: pluggy.PluginManager, **hooks: Callable[..., Any]) -> None:
    """Register a plugin that is asked before the family."""
    module = ModuleType("override")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    pm.register(module)


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def fresh(pm: pluggy.PluginManager) -> dict[str, torch.Tensor]:
    return tensors(build(pm, Job("toy:small", "-", task=Task(outputs=3, dropout=0.1)), pretrained=True).model)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("policy", "live"),
    [("head", {"head"}), ("last:1", {"block", "head"}), ("all", {"stem", "block", "head"})],
)
def test_frozen_parameters_and_norm_statistics_do_not_move(train, pm, policy: str, live: set[str]) -> None:
    state, _ = train(train=policy, averaging=0.5)
    assert moved(fresh(pm), tensors(state.model)) == live
    state.average.keep()
    assert moved(fresh(pm), tensors(state.model)) == live
    assert set(state.proof) == {name for name in fresh(pm) if name.split(".")[0] not in live}


def test_norms_are_held_and_the_rest_of_a_stage_trains(train, pm) -> None:
    state, _ = train(train="all, -norms")
    same = {name for name, tensor in fresh(pm).items() if torch.equal(tensor, state.model.state_dict()[name])}
    assert same == {name for name in fresh(pm) if name.split(".")[1] == "1" and not name.startswith("head")}


def test_a_frozen_parameter_is_no_part_of_the_optimizer_s_state(train) -> None:
    state, _ = train(train="head")
    names = {id(p): name for name, p in state.model.named_parameters()}
    assert {names[id(p)] for p in state.optimizer.state} == {"head.1.weight", "head.1.bias"}


def test_thawing_keeps_the_momentum_and_starts_where_it_was_asked(train, pm) -> None:
    seen = []

    def freeze(loaded: Loaded, train: str, progress: float) -> frozenset[str]:
        names = stages.trainable(loaded, train, progress)
        seen.append((progress, sorted({name.split(".")[0] for name in names})))
        return names

    overriding(pm, freeze=freeze)
    state, steps = train(train="head, last:1@0.5", epochs=4)
    assert seen == [(0, ["head"]), (0.25, ["head"]), (0.5, ["block", "head"]), (0.75, ["block", "head"])]
    counts = {n: int(state.optimizer.state[p]["step"]) for n, p in state.model.named_parameters() if p.requires_grad}
    assert {n.split(".")[0]: count for n, count in counts.items()} == {"block": len(steps) // 2, "head": len(steps)}


def test_a_hook_that_moves_a_frozen_buffer_is_caught_and_named(train, pm) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        model.get_buffer("stem.1.running_mean").add_(1e-3)
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    overriding(pm, train_step=train_step)
    state, _ = train(train="head")
    with pytest.raises(TrainingError, match=r"stem\.1\.running_mean"):
        frozen.verify(state.model, state.proof)


def test_the_loss_falls_and_the_run_repeats(train) -> None:
    state, steps = train(epochs=12)
    losses = [float(step.loss) for step in steps]
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])
    again, _ = train(epochs=12)
    assert not moved(tensors(state.model), tensors(again.model))


def test_a_loss_that_is_not_finite_stops_the_run_by_its_step(train, pm) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]) * (math.nan if model.training else 1), "outputs": outputs}

    overriding(pm, train_step=train_step)
    meter = loop.Meter()
    _, steps = train()
    for step in steps[2:]:
        meter.add(step)
    with pytest.raises(TrainingError, match="step 3 is nan"):
        meter.loss()


@pytest.mark.parametrize(
    "result",
    [None, {}, {"loss": 1.0}, {"loss": torch.ones(2, requires_grad=True), "outputs": torch.ones(1)}],
    ids=["default", "empty", "no tensor", "no scalar"],
)
def test_what_train_step_gives_is_checked(train, pm, result: Any) -> None:
    overriding(pm, train_step=lambda model, batch: result)
    if result is None:  # "not me": the core's default answers
        train()
    else:
        with pytest.raises(FamilyError, match="train_step"):
            train()


@pytest.mark.parametrize("names", [frozenset(), frozenset({"head.9.weight"})])
def test_what_freeze_gives_is_checked(train, pm, names: frozenset[str]) -> None:
    overriding(pm, freeze=lambda loaded: names)
    with pytest.raises(FamilyError, match="freeze"):
        train()


def test_further_scalars_are_handed_on(train, pm) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs, "confidence": outputs.detach().max()}

    overriding(pm, train_step=train_step)
    assert train()[1][-1].scalars.keys() == {"confidence"}


def test_bf16_trains_in_bf16_and_keeps_float32_weights(train, pm) -> None:
    seen = set()

    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        outputs = model(batch[0])
        seen.add(outputs.dtype)
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    overriding(pm, train_step=train_step)
    state, _ = train(Compute(device="cpu", precision="bf16", workers=0))
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}


def test_a_device_that_the_machine_lacks_is_said() -> None:
    with pytest.raises(HubftError, match=r"--device 'cuda:77'"):
        Runtime(Compute(device="cuda:77"))


def test_clipping_bounds_the_gradient(train, pm) -> None:
    norms = []

    class Watched(torch.optim.AdamW):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
            norms.append(float(nn.utils.get_total_norm(grads)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watched)
        train(clip=0.01)
        assert max(norms) <= 0.01 * (1 + 1e-5)
        norms.clear()
        train(clip=0)
        assert max(norms) > 0.1


def test_the_average_is_the_exponential_moving_average_of_weights_and_buffers() -> None:
    model = nn.BatchNorm1d(2)
    average = recipe.Average(model, decay=0.9)
    by_hand = model.running_mean.clone()
    for step in range(1, 60):
        model(torch.randn(8, 2) + step)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        by_hand = decay * by_hand + (1 - decay) * model.running_mean
    live = model.running_mean.clone()
    with average.applied():
        torch.testing.assert_close(model.running_mean, by_hand)
        assert not torch.equal(model.running_mean, live)
    assert torch.equal(model.running_mean, live)


class Tower(nn.Module):
    """Layers with dropout between, before and after them, as libraries place it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2), nn.Dropout())
        self.classifier = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))


def modes(model: nn.Module) -> Iterator[str]:
    return (name for name, module in model.named_modules() if module.training and name)


def test_dropout_goes_with_the_layer_that_it_feeds() -> None:
    """And stands still with the block that it lies in, where all of that is frozen."""
    model = Tower()
    stages.set_trainable(model, frozenset({"classifier.2.weight"}))
    stages.train_mode(model)
    assert list(modes(model)) == ["classifier", "classifier.1", "classifier.2"]
    stages.set_trainable(model, frozenset({"classifier.0.weight", "classifier.2.weight"}))
    stages.train_mode(model)
    assert list(modes(model)) == ["classifier", "classifier.0", "classifier.1", "classifier.2"]


def test_evaluation_is_fp32_in_eval_mode_and_in_order(images: data.Images, pm: pluggy.PluginManager) -> None:
    loaded = build(pm, Job("toy:small", "-", task=Task(outputs=3, dropout=0.5)), pretrained=True)
    nn.init.normal_(loaded.model.get_parameter("head.1.weight"))
    transform = transforms.evaluation(loaded.preprocess)
    runtime = Runtime(Compute(device="cpu", precision="bf16", workers=0))
    batches = loader.in_order(Views(images.folder, images.val, loaded.preprocess), 5, runtime)
    outputs, targets = loop.evaluate(pm, loaded.model, batches, runtime)
    decoded = [transform(decode(images.folder / s.path)) for s in images.val]
    with torch.no_grad():
        torch.testing.assert_close(outputs, loaded.model.eval()(torch.stack(decoded)))
    assert targets.tolist() == [s.label for s in images.val]
