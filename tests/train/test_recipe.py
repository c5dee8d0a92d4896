"""What the options of a recipe mean: optimizer, groups and rates, schedules."""

from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from hubft import Job, Loaded
from hubft.base.errors import JobError
from hubft.families import plugins, stages
from hubft.families.build import build
from hubft.job import Compute, Head, Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.classification import Classification
from hubft.train import checkpoint, loop, recipe, schedule


def accepted(name: str) -> bool:
    try:
        recipe.check_optimizer(name)
    except JobError:
        return False
    return True


NAMES = [name for name in timm.optim.list_optimizers() if accepted(name)]


@pytest.fixture
def loaded() -> Loaded:
    torch.manual_seed(0)
    return build(plugins.manager("toy"), Job("toy:small", "-", head=Head(outputs=3)), pretrained=True)


def by_name(loaded: Loaded, optimizer: torch.optim.Optimizer, key: str) -> dict[str, Any]:
    """Return a value of the group that each parameter is in."""
    names = {id(p): name for name, p in loaded.model.named_parameters()}
    return {names[id(p)]: group[key] for group in optimizer.param_groups for p in group["params"]}


# --- groups and rates -------------------------------------------------------------------------------------------


def test_weights_decay_and_biases_and_norms_do_not(loaded: Loaded) -> None:
    optimizer = recipe.optimizer(loaded, Recipe(weight_decay=0.1))
    assert by_name(loaded, optimizer, "weight_decay") == {
        name: 0.1 if p.ndim > 1 else 0.0 for name, p in loaded.model.named_parameters()
    }


def test_every_stage_has_a_share_of_the_rate_of_the_stage_after_it(loaded: Loaded) -> None:
    options = Recipe(lr=0.4, body_lr=0.5, layer_decay=0.25, warmup=0)
    optimizer = recipe.optimizer(loaded, options)
    assert schedule.set_lr(optimizer, options, 0, 10) == 0.4
    wanted = {"head": 0.4, "block": 0.2, "stem": 0.05}
    assert by_name(loaded, optimizer, "lr") == {n: wanted[n.split(".")[0]] for n, _ in loaded.model.named_parameters()}
    halfway = schedule.set_lr(optimizer, options, 5, 10)
    assert halfway == pytest.approx(0.2)
    assert by_name(loaded, optimizer, "lr")["stem.0.weight"] == pytest.approx(0.025)


def test_a_rate_by_stage_overrides_what_it_would_be(loaded: Loaded) -> None:
    options = Recipe(lr=0.4, body_lr=0.5, layer_decay=0.25, stage_lr=("block=0.9", "head=0.01"))
    assert recipe.rates(loaded, options) == {"head": 0.01, "block": 0.9, "stem": 0.05}
    assert schedule.set_lr(recipe.optimizer(loaded, options), options, 1, 10) == 0.01  # the head's is what is logged
    with pytest.raises(JobError) as caught:
        recipe.optimizer(loaded, Recipe(stage_lr=("blok=1",)))
    known = "this model has stem, block, head. Did you mean 'block'?"
    assert str(caught.value) == f"stage_lr: 'blok' is no stage; {known}"


@pytest.mark.parametrize("text", ["block", "block=", "=0.1", "block=fast", "block=-1", "block=nan", "block=1e4"])
def test_a_rate_of_the_wrong_form_is_refused(text: str) -> None:
    with pytest.raises(JobError, match=r"^stage_lr .*: must be NAME=RATE"):
        Recipe(stage_lr=(text,))


def test_a_stage_has_one_rate() -> None:
    with pytest.raises(JobError, match="one rate for each stage"):
        Recipe(stage_lr=("a=1", "a=2"))


# --- schedules --------------------------------------------------------------------------------------------------


def test_cosine_and_constant_are_torch_s_own_after_a_linear_rise() -> None:
    steps, rising = 20, 5
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rising)
    rise = [(step + 1) / rising for step in range(rising)]
    fall = []
    for _ in range(steps - rising):
        fall.append(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()
    for name, rest in (("cosine", fall), ("constant", [1.0] * 15)):
        options = Recipe(schedule=name, warmup=0.25)  # type: ignore[arg-type]
        assert [schedule.lr_factor(options, step, steps) for step in range(steps)] == pytest.approx(rise + rest)


def test_linear_polynomial_and_step_are_torch_s_own_after_the_rise() -> None:
    steps, rising = 20, 5
    rest = steps - rising
    of_torch = torch.optim.lr_scheduler
    for options, theirs in (
        (Recipe(schedule="linear", warmup=0.25), lambda o: of_torch.LinearLR(o, 1.0, 0.0, rest)),
        (Recipe(schedule="polynomial", warmup=0.25), lambda o: of_torch.PolynomialLR(o, rest, power=0.9)),
        (Recipe(schedule="polynomial", power=2, warmup=0.25), lambda o: of_torch.PolynomialLR(o, rest, power=2)),
        (Recipe(schedule="step", warmup=0.25), lambda o: of_torch.StepLR(o, rest // 3, gamma=0.1)),
    ):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        its, wanted = theirs(optimizer), [(step + 1) / rising for step in range(rising)]
        for _ in range(rest):
            wanted.append(its.get_last_lr()[0])
            optimizer.step()
            its.step()
        found = [schedule.lr_factor(options, step, steps) for step in range(steps)]
        assert found == pytest.approx(wanted), options.schedule


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("adam", lambda groups: torch.optim.Adam(groups, lr=0.01)),
        ("rmsprop", lambda groups: torch.optim.RMSprop(groups, lr=0.01)),
    ],
)
def test_adam_and_rmsprop_are_torch_s_own(loaded: Loaded, name: str, make: Any) -> None:
    """Three steps give the bits that torch's give of its own defaults, coupled decay included."""
    options = Recipe(optimizer=name, lr=0.01, body_lr=1, layer_decay=1, weight_decay=0.1, warmup=0, schedule="constant")
    ours = recipe.optimizer(loaded, options)
    copies = [p.detach().clone().requires_grad_() for p in loaded.model.parameters()]
    decayed = [p for p in copies if p.ndim > 1], [p for p in copies if p.ndim < 2]
    theirs = make([{"params": its, "weight_decay": decay} for its, decay in zip(decayed, (0.1, 0.0), strict=True)])
    assert type(ours) is type(theirs)
    for step in range(3):
        schedule.set_lr(ours, options, step, 3)
        for mine, other in zip(loaded.model.parameters(), copies, strict=True):
            mine.grad = torch.full_like(mine, 0.1 * (step + 1))
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other in zip(loaded.model.parameters(), copies, strict=True):
        torch.testing.assert_close(mine.detach(), other.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize(("warmup", "steps"), [(0.3, 20), (0.1, 7), (0.0, 5), (1.0, 6), (0.55, 40)])
def test_one_cycle_is_torch_s_own(loaded: Loaded, name: str, warmup: float, steps: int) -> None:
    options = Recipe(optimizer=name, schedule="one-cycle", warmup=warmup, lr=0.3, body_lr=0.1)
    ours, theirs = recipe.optimizer(loaded, options), recipe.optimizer(loaded, options)
    peaks = [group["peak_lr"] for group in theirs.param_groups]
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, peaks, steps, pct_start=warmup)
    for step in range(steps):
        schedule.set_lr(ours, options, step, steps)
        for our, their in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert our["lr"] == pytest.approx(their["lr"], rel=1e-9)
            key = "betas" if name == "adamw" else "momentum"
            assert our[key] == pytest.approx(their[key])
        theirs.step()
        if step < steps - 1:
            cycle.step()


def test_one_cycle_of_one_step_and_of_a_peak_at_once() -> None:
    assert schedule.one_cycle(0.0, 0, 1)[0] == pytest.approx(1 / 25e4)
    assert schedule.one_cycle(1.0, 0, 1) == schedule.one_cycle(0.25, 0, 4) == pytest.approx((1, 0.85))


# --- optimizers -------------------------------------------------------------------------------------------------

RUNTIME = Runtime(Compute(device="cpu", memory_format="channels_last"))


def started(name: str, train: str = "head,block") -> loop.State:
    """Return a state of `toy:small`, in channels_last, so that a restored tensor of another order is seen."""
    loaded = build(plugins.manager("toy"), Job("toy:small", "-", head=Head(outputs=3)), pretrained=True)
    nn.init.normal_(loaded.model.get_parameter("head.weight"), generator=torch.Generator().manual_seed(0))
    state = loop.start(
        loaded, Recipe(optimizer=name, lr=0.01, weight_decay=0.1), RUNTIME, Classification(("a", "b", "c"))
    )
    stages.set_trainable(loaded.model, stages.trainable(loaded, train, 0))
    return state


def take(state: loop.State, *steps: int) -> None:
    """Take steps on noise; each is a function of its number."""
    for step in steps:
        torch.manual_seed(step)
        images = torch.randn(4, 3, 16, 16)
        schedule.set_lr(state.optimizer, Recipe(optimizer="adamw", lr=0.01, warmup=0.5), step, 10)
        loss = nn.functional.cross_entropy(state.model(images), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step += 1


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in type and bits."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def memories(state: loop.State) -> dict[str, dict[str, Any]]:
    return {
        name: dict(state.optimizer.state[p]) for name, p in state.model.named_parameters() if p in state.optimizer.state
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_and_restored_optimizer_goes_on_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = started(name)
    take(whole, 0, 1, 2)
    path = checkpoint.save(tmp_path, whole, {})
    take(whole, 3, 4)
    again = started(name)
    checkpoint.restore(path, again)
    take(again, 3, 4)
    one, other = memories(whole), memories(again)
    assert one.keys() == other.keys() and one
    for parameter, its in one.items():
        assert its.keys() == other[parameter].keys()
        assert all(same(value, other[parameter][key]) for key, value in its.items()), parameter
    for ours, theirs in zip(whole.optimizer.param_groups, again.optimizer.param_groups, strict=True):
        assert all(same(value, theirs[key]) for key, value in ours.items() if key != "params")
    for (key, tensor), restored in zip(
        whole.model.state_dict().items(), again.model.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, restored), key


@pytest.mark.parametrize("name", NAMES)
def test_what_is_frozen_does_not_move_and_starts_from_nothing_when_it_thaws(name: str) -> None:
    state = started(name)
    before = {key: p.clone() for key, p in state.model.named_parameters()}
    take(state, 0, 1, 2)
    moved = {key for key, p in state.model.named_parameters() if not torch.equal(p, before[key])}
    assert moved == {key for key in before if not key.startswith("stem")}
    frozen = [memory for key, memory in memories(state).items() if key.startswith("stem")]
    assert not any(tensor.any() for memory in frozen for tensor in memory.values())  # Adagrad's are there, all zero
    kept = memories(state)
    stages.set_trainable(state.model, frozenset(before))
    assert all(its[key] is value for name, its in memories(state).items() for key, value in kept[name].items())
    take(state, 3, 4)  # the first step of ADOPT only fills its second moment
    assert all(not torch.equal(p, before[key]) for key, p in state.model.named_parameters())


def test_adamw_and_sgd_are_torch_s_own() -> None:
    adamw, sgd = started("adamw").optimizer, started("sgd").optimizer
    assert type(adamw) is torch.optim.AdamW and type(sgd) is torch.optim.SGD
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    assert type(started("lion").optimizer).__name__ == "Lion"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adamv", "none of timm's, such as adamw, sgd, lion, lamb. Did you mean 'adam"),
        ("AdamW", "Did you mean 'adamw'?"),
        ("lookahead_adamw", "none of timm's"),
        ("", "none of timm's"),
        ("adahessian", "second derivatives, which the loop does not compute; try"),
        ("kron", "a generator of its own"),
        ("bnbadam8bit", "bitsandbytes.optim.Adam8bit, of a library"),
        ("fusedlamb", "apex.optimizers.FusedLAMB, of a library"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(loaded: Loaded, name: str, said: str) -> None:
    with pytest.raises(JobError) as caught:
        recipe.optimizer(loaded, Recipe(optimizer=name))
    message = str(caught.value)
    assert message.startswith("optimizer ") and said in message and "\n" not in message


def test_most_of_timm_s_optimizers_are_accepted() -> None:
    assert len(NAMES) > 75 and {"adamw", "sgd", "sgdw", "lion", "lamb", "lars", "muon", "adan", "nadamw"} <= set(NAMES)
