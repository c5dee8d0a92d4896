"""The loop: what trains, what stands still, what stops it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pictures
import pluggy
import pytest
import reading
import torch
from torch import nn

from hubft import HubftError, Job, Loaded, hookimpl
from hubft.base.errors import FamilyError, JobError, TrainingError
from hubft.families import plugins, stages
from hubft.families.build import build
from hubft.images import mixing, transforms
from hubft.images.decode import decode
from hubft.images.pixels import Views
from hubft.job import Compute, Head, Recipe
from hubft.machine.runtime import Runtime
from hubft.run.data import Data
from hubft.tasks.classification import Classification
from hubft.tasks.losses import CrossEntropy
from hubft.train import frozen, loader, loop, recipe
from hubft.train.meter import Meter

CPU = Compute(device="cpu", workers=0)


TASK = Classification(("ants", "bees", "wasps"), (12, 12, 12))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return reading.read(pictures.folder(tmp_path_factory.mktemp("data")), 0.2, 0)


@pytest.fixture
def pm() -> pluggy.PluginManager:
    return plugins.manager("toy")


@dataclass
class Training:
    """All that `loop.fit` takes, of `toy:small`."""

    pm: pluggy.PluginManager
    state: loop.State
    recipe: Recipe
    views: Views
    runtime: Runtime

    def fit(self, stop: int | None = None, feed: loop.Feed = nullcontext) -> Iterator[loop.Step]:
        """Train from where the state is to before step `stop`, or to the end."""
        options = self.recipe
        sampler = loader.Batches(
            len(self.views.samples), options.batch_size, options.epochs, options.seed, self.state.step, stop
        )
        batches = loader.batches(self.views, sampler, self.runtime)
        return loop.fit(self.pm, self.state, options, batches, self.runtime, feed)


@pytest.fixture
def begin(images: Data, pm: pluggy.PluginManager) -> Callable[..., Training]:
    def begun(compute: Compute = CPU, **options: Any) -> Training:
        recipe = Recipe(**{"epochs": 2, "batch_size": 9, "lr": 0.02, "body_lr": 0.1, "seed": 3} | options)
        torch.manual_seed(0)
        loaded = build(pm, Job("toy:small", "-", head=Head(outputs=3, dropout=0.1)), pretrained=True)
        runtime = Runtime(compute)
        views = Views(images.source, images.task, images.train, loaded.preprocess, recipe)
        return Training(pm, loop.start(loaded, recipe, runtime, TASK), recipe, views, runtime)

    return begun


@pytest.fixture
def train(begin: Callable[..., Training]) -> Callable[..., tuple[loop.State, list[loop.Step]]]:
    """Train `toy:small` by a recipe to the end; return the state and the steps."""

    def run(compute: Compute = CPU, **options: Any) -> tuple[loop.State, list[loop.Step]]:
        training = begin(compute, **options)
        return training.state, list(training.fit())

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
    return tensors(build(pm, Job("toy:small", "-", head=Head(outputs=3, dropout=0.1)), pretrained=True).model)


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


def test_a_thaw_by_stage_names_rebuilds_nothing_and_loses_nothing(begin) -> None:
    """The momenta of what trains from the start are, bit for bit, those of before; what thaws has none yet."""
    training = begin(train="head@0, block@0.5, stem@0.75", epochs=4)
    state, per_epoch = training.state, 4
    optimizer, groups = state.optimizer, [list(group["params"]) for group in state.optimizer.param_groups]
    stage = {p: name.split(".")[0] for name, p in state.model.named_parameters()}
    trained, kept = {"head"}, {}
    for step in training.fit():
        if step.number in (2 * per_epoch, 3 * per_epoch):  # the last step before a thaw
            kept = {p: {key: value.clone() for key, value in its.items()} for p, its in optimizer.state.items()}
            begins = step.number * 3 // (2 * per_epoch) * 0.25
            loop.begin_epoch(training.pm, state, training.recipe, begins)
            assert {p: its.keys() for p, its in optimizer.state.items()} == {p: its.keys() for p, its in kept.items()}
            assert all(
                torch.equal(value, kept[p][key]) for p, its in optimizer.state.items() for key, value in its.items()
            )
            trained |= {"block"} if step.number == 2 * per_epoch else {"stem"}
        else:
            assert {stage[p] for p in optimizer.state} == trained
    assert state.optimizer is optimizer
    assert [list(group["params"]) for group in optimizer.param_groups] == groups
    counts = {stage[p]: int(its["step"]) for p, its in optimizer.state.items()}
    assert counts == {"head": 16, "block": 8, "stem": 4}


def test_a_word_that_is_neither_stage_nor_rule_is_said_with_both(pm) -> None:
    loaded = build(pm, Job("toy:small", "-", head=Head(outputs=3)), pretrained=True)
    assert stages.trainable(loaded, "block", 0) == stages.trainable(loaded, "head, stage:block", 0)
    for word, near in (("blok", "block"), ("hed", "head"), ("norm", "norms")):
        with pytest.raises(JobError) as caught:
            stages.trainable(loaded, f"head@0, {word}@0.5", 0)
        message = str(caught.value)
        assert message.startswith(
            f"train: {word!r} is neither a stage of this model (stem, block, head) nor a rule (all,"
        )
        assert message.endswith(f"Did you mean {near!r}?") and "\n" not in message


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
    meter = Meter()
    _, steps = train()
    with pytest.raises(TrainingError, match="step 3 is nan"):
        for step in steps[2:]:
            meter.add(step)
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
    with pytest.raises(HubftError, match=r"device 'cuda:77'"):
        Runtime(Compute(device="cuda:77"))


def test_clipping_bounds_the_gradient(train, pm) -> None:
    norms = []

    class Watched(torch.optim.AdamW):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
            norms.append(float(nn.utils.get_total_norm(grads)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipe.TORCH, "adamw", (Watched, {}))
        train(clip=0.01)
        assert max(norms) <= 0.01 * (1 + 1e-5)
        norms.clear()
        train(clip=0)
        assert max(norms) > 0.1


def test_the_average_is_the_exponential_moving_average_of_weights_and_buffers() -> None:
    model = nn.BatchNorm1d(2)
    average = recipe.Average(model, decay=0.9)
    average.include(["running_mean"])
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


def test_a_tensor_with_two_names_is_averaged_once() -> None:
    """Else it is swapped twice, and the model goes on with the average."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    average = recipe.Average(model, decay=0.5)
    average.include(model.state_dict())
    assert list(average.tensors) == ["0.weight"]
    with torch.no_grad():
        model[0].weight.add_(1)
    average.update(1)
    live = model[1].weight.clone()
    with average.applied():
        assert not torch.equal(model[1].weight, live)
    assert torch.equal(model[1].weight, live)


def test_what_stands_still_is_not_averaged_and_what_thaws_is_from_then_on(train, pm) -> None:
    state, _ = train(train="head, last:1@0.5", averaging=0.5)
    assert {name.split(".")[0] for name in state.average.tensors} == {"block", "head"}
    head, _ = train(train="head", averaging=0.5)
    assert {name.split(".")[0] for name in head.average.tensors} == {"head"}
    last = state.model.state_dict()
    with state.average.applied():
        assert any(not torch.equal(last[name], fresh(pm)[name]) for name in last if name.startswith("block"))
        assert all(torch.equal(last[name], fresh(pm)[name]) for name in last if name.startswith("stem"))


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


def test_evaluation_is_fp32_in_eval_mode_and_in_order(images: Data, pm: pluggy.PluginManager) -> None:
    loaded = build(pm, Job("toy:small", "-", head=Head(outputs=3, dropout=0.5)), pretrained=True)
    nn.init.normal_(loaded.model.get_parameter("head.1.weight"))
    transform = transforms.evaluation(loaded.preprocess)
    runtime = Runtime(Compute(device="cpu", precision="bf16", workers=0))
    batches = loader.in_order(Views(images.source, images.task, images.val, loaded.preprocess), 5, runtime)
    outputs, targets = loop.evaluate(pm, loaded, TASK, batches, runtime)
    decoded = [transform(decode(images.source.open(s.place))) for s in images.val]
    with torch.no_grad():
        torch.testing.assert_close(outputs, loaded.model.eval()(torch.stack(decoded)))
    assert targets.tolist() == [s.target for s in images.val]


# --- parts of a batch, of a run; mixing; the feed ---------------------------------------------------------------


def test_targets_that_are_a_list_are_split_by_samples(begin, pm) -> None:
    """A detector has a dict an image: its parts get the dicts of their own images, not slices of every tensor."""
    seen = []

    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        inputs, targets = batch
        seen.append([int(target["label"]) for target in targets])
        assert len(inputs) == len(targets)
        outputs = model(inputs)
        return {"loss": criterion(outputs, torch.stack([target["label"] for target in targets])), "outputs": outputs}

    class Listed:
        def __init__(self, plain: Any) -> None:
            self.plain, self.batch_sampler = plain, plain.batch_sampler

        def __iter__(self) -> Iterator[Any]:
            for inputs, targets in self.plain:
                yield inputs, [{"label": label, "boxes": torch.zeros(int(label), 4)} for label in targets]

    overriding(pm, train_step=train_step)
    training = begin(epochs=1, accumulate=2, augment="none")
    sampler = loader.Batches(len(training.views.samples), 9, 1, 3)
    plain = loader.batches(training.views, sampler, training.runtime)
    wanted = [targets.tolist() for _, targets in plain]
    steps = list(loop.fit(pm, training.state, training.recipe, Listed(plain), training.runtime))
    assert [step.images for step in steps] == [len(labels) for labels in wanted]
    assert [first + second for first, second in zip(seen[::2], seen[1::2], strict=True)] == wanted


@pytest.mark.parametrize(
    "loss",
    [{}, {"class_weights": ("ants=5", "wasps=0.25")}, {"loss": "focal"}, {"smoothing": 0.2}],
    ids=["plain", "weighted", "focal", "smoothed"],
)
@pytest.mark.parametrize(("count", "sizes"), [(2, [4, 5]), (3, [3, 3, 3]), (9, [2, 2, 2, 3])])
def test_parts_add_up_to_the_large_batch(begin, pm, count: int, sizes: list[int], loss: dict[str, Any]) -> None:
    """In a model without batch statistics and dropout: the same steps, losses, scalars and weights."""
    seen = []

    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        seen.append(len(batch[1]))
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs, "mean": outputs.mean()}

    overriding(pm, train_step=train_step)
    options = {"train": "all,-norms", "optimizer": "sgd", "body_lr": 1.0}  # Adam would blow rounding up to steps
    options |= loss
    one, many = begin(**options), begin(**options, accumulate=count)
    whole, cut = list(one.fit()), list(many.fit())
    assert seen == [9] * 8 + sizes * 8
    for ours, theirs in zip(cut, whole, strict=True):
        assert (ours.number, ours.images, ours.lr) == (theirs.number, theirs.images, theirs.lr)
        torch.testing.assert_close(ours.loss, theirs.loss)
        torch.testing.assert_close(ours.scalars["mean"], theirs.scalars["mean"].detach())
    torch.testing.assert_close(many.state.model.state_dict(), one.state.model.state_dict(), rtol=1e-4, atol=1e-5)
    assert moved(fresh(pm), tensors(many.state.model)) == {"stem", "block", "head"}


def test_l1_makes_weights_smaller_and_leaves_alone_what_is_frozen(begin, pm) -> None:
    sums, biases = [], []
    options = {"optimizer": "sgd", "body_lr": 1.0, "clip": 0.0, "averaging": 0.0, "weight_decay": 0.0}
    for l1 in (0.0, 0.01, 0.1):
        training = begin(epochs=4, lr=0.005, train="head,block", l1=l1, **options)
        list(training.fit())
        after = tensors(training.state.model)
        assert moved(fresh(pm), after) == {"block", "head"}
        sums.append([after[name].abs().sum().item() for name in ("head.1.weight", "block.0.weight")])
        biases.append(after["block.1.bias"].abs().sum().item())
    assert all(first > second > third for first, second, third in zip(*sums, strict=True))
    assert biases == pytest.approx([biases[0]] * 3, rel=0.2), "biases and norms are not what it is about"


def test_l1_is_the_gradient_of_the_absolute_sum(begin, pm) -> None:
    options = {"train": "head", "optimizer": "sgd", "weight_decay": 0.0, "clip": 0.0, "averaging": 0.0, "warmup": 0.0}
    plain, shrunk = (begin(epochs=1, batch_size=64, **options, l1=l1) for l1 in (0.0, 0.5))
    (first,), (second,) = list(plain.fit()), list(shrunk.fit())
    before = fresh(pm)["head.1.weight"]
    ours, theirs = (tensors(training.state.model) for training in (plain, shrunk))
    assert first.loss == second.loss and torch.equal(ours["head.1.bias"], theirs["head.1.bias"])
    step = (1 + 0.9) * first.lr  # Nesterov momentum of 0.9
    wanted = 0.5 * step * before.sign()
    torch.testing.assert_close(ours["head.1.weight"] - theirs["head.1.weight"], wanted, rtol=1e-3, atol=1e-6)


def test_a_part_of_a_run_is_a_part_of_the_whole(begin) -> None:
    whole, parts = begin(epochs=3, schedule="one-cycle"), begin(epochs=3, schedule="one-cycle")
    steps = list(whole.fit())
    found = [step for stop in (3, 8, None) for step in parts.fit(stop)]
    assert [(step.number, step.lr, step.loss) for step in found] == [(s.number, s.lr, s.loss) for s in steps]
    assert not moved(tensors(whole.state.model), tensors(parts.state.model))


def watching(pm: pluggy.PluginManager) -> list[tuple[Any, ...]]:
    """Have every call of `train_step` noted: model, inputs, targets, smoothing."""
    calls = []

    def train_step(model: nn.Module, batch: Any, criterion: CrossEntropy) -> None:
        calls.append((model, *batch, criterion.smoothing))

    overriding(pm, train_step=train_step)
    return calls


def test_strong_mixes_batches_by_seed_and_step(begin, pm) -> None:
    calls = watching(pm)
    compute = Compute(device="cpu", workers=0, memory_format="channels_last")
    whole = begin(compute, augment="strong", epochs=6)
    plain = list(loader.batches(whole.views, loader.Batches(36, 9, 6, 3), whole.runtime))
    list(whole.fit())
    pasted = blended = 0
    for (images, labels), (_, inputs, targets, _) in zip(plain, calls, strict=True):
        assert targets.dtype == torch.float32 and targets.shape == (9, 3)
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        classes, others = nn.functional.one_hot(labels, 3).float(), images.roll(1, 0)
        share = (targets - classes.roll(1, 0)).abs().sum() / (classes - classes.roll(1, 0)).abs().sum()
        torch.testing.assert_close(targets, share * classes + (1 - share) * classes.roll(1, 0))
        if ((inputs == images) | (inputs == others)).all():  # CutMix: a box of its neighbour
            box = (inputs != images).any(0).any(0).float().mean()
            torch.testing.assert_close(1 - box, share, atol=0.01, rtol=0)
            pasted += 1
        else:
            torch.testing.assert_close(inputs, share * images + (1 - share) * others, atol=1e-4, rtol=1e-4)
            blended += 1
    assert pasted >= 6 and blended >= 6
    for seed in (1, 2):  # of the global generator, which batches that were decoded elsewhere leave as it is
        torch.manual_seed(seed)
        inputs, targets = mixing.Mixing(3, 3)(whole.runtime.to_device(plain[13]), 13)
        assert torch.equal(inputs, calls[13][1]) and torch.equal(targets, calls[13][2])
    assert not torch.equal(mixing.Mixing(3, 4)(whole.runtime.to_device(plain[13]), 13)[0], calls[13][1])


def test_only_strong_mixes(train, pm) -> None:
    calls = watching(pm)
    train(augment="standard")
    assert {(targets.dtype, targets.ndim) for _, _, targets, _ in calls} == {(torch.int64, 1)}


def test_labels_are_smoothed_in_training_only(begin, pm) -> None:
    calls = watching(pm)
    training = begin(smoothing=0.3)
    next(training.fit())
    loop.evaluate(
        pm, training.state.loaded, TASK, [(torch.zeros(2, 3, 32, 32), torch.zeros(2).long())], training.runtime
    )
    assert [smoothing for *_, smoothing in calls] == [0.3, 0.0]


def test_the_model_is_called_with_what_the_feed_makes_of_the_inputs(begin, pm) -> None:
    """Each part under a feed of its own that is there in the backward pass too; nothing is mixed."""
    calls, alive, fed = watching(pm), [], []
    training = begin(augment="strong", accumulate=2)

    @contextmanager
    def feed(inputs: torch.Tensor) -> Iterator[torch.Tensor]:
        alive.append(True)
        fed.append(inputs)
        yield inputs + 1
        alive.pop()

    head = training.state.model.get_parameter("head.1.weight")
    head.register_hook(lambda gradient: backward.append(bool(alive)))
    backward: list[bool] = []
    step = next(training.fit(feed=feed))
    assert backward == [True, True] and not alive
    assert step.images == 9 and [len(inputs) for inputs in fed] == [4, 5]
    for inputs, (_, seen, targets, _) in zip(fed, calls, strict=True):
        assert torch.equal(seen, inputs + 1) and targets.dtype == torch.int64
    batch = (torch.zeros(2, 3, 32, 32), torch.zeros(2).long())
    outputs, _ = loop.evaluate(pm, training.state.loaded, TASK, [batch], training.runtime, feed)
    assert torch.equal(calls[-1][1], torch.ones(2, 3, 32, 32)) and not alive
    with torch.no_grad():
        assert torch.equal(outputs, training.state.model(torch.ones(2, 3, 32, 32)))


def test_the_compiled_model_trains_and_the_model_itself_is_evaluated(begin, pm, monkeypatch) -> None:
    calls, made = watching(pm), []

    class Compiled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            made.append(self)
            self.inner = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images)

    training = begin()
    monkeypatch.setattr(training.runtime, "compiled", Compiled)
    list(training.fit())
    loop.evaluate(
        pm, training.state.loaded, TASK, [(torch.zeros(2, 3, 32, 32), torch.zeros(2).long())], training.runtime
    )
    assert len(made) == 1
    assert [model for model, *_ in calls] == made * 8 + [training.state.model]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_fp16_skips_a_step_whose_gradient_is_infinite_and_halves_the_scale(begin, pm, clip: float) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, torch.Tensor]:
        outputs = model(batch[0])
        assert outputs.dtype == torch.float16
        loss = criterion(outputs, batch[1])
        return {"loss": loss * math.inf if training.state.step == 3 else loss, "outputs": outputs}

    overriding(pm, train_step=train_step)
    training = begin(Compute(device="cpu", precision="fp16", workers=0), clip=clip, train="all,-norms")
    parameters, before = list(training.state.model.parameters()), None
    scale = training.state.scaler.get_scale()
    for step in training.fit():
        now = [p.detach().clone() for p in parameters]
        if before:
            assert all(torch.equal(*pair) for pair in zip(before, now, strict=True)) == (step.number == 4)
        assert training.state.scaler.get_scale() == (scale if step.number < 4 else scale / 2)
        before = now
    head = training.state.model.get_parameter("head.1.bias")
    assert int(training.state.optimizer.state[head]["step"]) == 7  # of 8
