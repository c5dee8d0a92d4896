"""Where a model is cut for a run: before the first stage that trains; and the proof that cut it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pluggy
import torch
from torch import Tensor, nn

from hubft.base import draws
from hubft.base.batches import count, each
from hubft.cut.calls import PLAIN, Blank, Call, in_eval, leaves, record
from hubft.cut.feed import Cut, among
from hubft.hookspecs import Batch, Loaded

DROPS = ("p", "drop_prob", "drop_rate", "prob")  # what libraries call the probability of a dropout
KINKS = 4  # times the tolerance for gradients: they jump where rounding carries a ReLU across its kink


def find(loaded: Loaded, live: frozenset[str], inputs: Any) -> Cut | str:
    """Return the cut before the first stage that trains, or in a phrase why there is none.

    It lies before that stage's first module, or before a dropout or norm in training mode where one comes earlier.
    Two forward passes record the order of calls; that the cut model gives what the whole gives, `check` proves.

    :param live: names of the parameters that train; the model is in the modes of training (`stages.train_mode`).
    :param inputs: a few real inputs, on the model's device.
    """
    model = loaded.model
    behind, number = _first_live_on(loaded, live), count(inputs)
    active = {name for name, module in model.named_modules() if _active(module)}
    with torch.no_grad(), in_eval(model):
        calls = record(loaded, inputs)
        entry = next((call for call in calls if among(call.name, behind) or call.name in active), None)
        if entry is None or not behind:
            return "nothing that trains is a module of its own"
        if reason := _no_entry(entry, calls, number):
            return reason
        before = _before(entry, calls, behind)
        if not any(True for call in before for _ in call.module.parameters()):
            return "nothing leading is frozen"
        stubs = _stubs(entry, before, calls)
        if isinstance(stubs, str):
            return stubs
        (place,) = entry.rows(number)
        features = entry.arguments[place]
        blank = each(inputs, lambda tensor: replace(Blank.of(tensor, number), written=False))
        behind = (*behind, entry.name)
        cut = Cut(loaded, entry.name, place, tuple(features.shape[1:]), features.dtype, blank, stubs, behind)
        return _tried(cut, features.new_zeros(number + 1, *cut.shape), _others(entry.arguments, place))


def _first_live_on(loaded: Loaded, live: frozenset[str]) -> tuple[str, ...]:
    """Return the prefixes of the first stage with a parameter that trains, and of all stages after it."""
    stages = list(loaded.stages.values())
    first = next((n for n, prefixes in enumerate(stages) if any(among(name, prefixes) for name in live)), len(stages))
    return tuple(prefix for prefixes in stages[first:] for prefix in prefixes)


def _active(module: nn.Module) -> bool:
    """Tell whether a layer behaves otherwise in training than in eval mode, and is in training mode."""
    drops = not any(True for _ in module.parameters()) and any(
        isinstance(rate := getattr(module, name, None), float) and rate > 0 for name in DROPS
    )
    return module.training and (drops or getattr(module, "running_mean", None) is not None)


def _no_entry(entry: Call, calls: list[Call], batch: int) -> str:
    """Return why the features cannot enter there, or nothing."""
    times = sum(call.module is entry.module for call in calls)
    if times > 1:
        return f"{entry.name} runs {times} times"
    if any(isinstance(x, Tensor) for value in entry.arguments.values() if isinstance(value, tuple | list | dict)
           for x in leaves(value)) or len(entry.rows(batch)) > 1:  # fmt: skip
        return f"{entry.name} is given several tensors"
    return "" if entry.rows(batch) else f"the input of {entry.name} has no row for each sample"


def _before(entry: Call, calls: list[Call], behind: tuple[str, ...]) -> list[Call]:
    """Return the outermost calls before the entry that hold nothing of what comes after the cut."""
    found: list[Call] = []
    for call in calls:
        if call.start >= entry.start:
            break
        inside = found and found[-1].start < call.start and call.end < found[-1].end
        holds = call.end > entry.end or any(among(name, behind) for name in _parameters(call))
        if not inside and not holds:
            found.append(call)
    return found


def _parameters(call: Call) -> list[str]:
    return [f"{call.name}.{name}".lstrip(".") for name, _ in call.module.named_parameters()]


def _stubs(entry: Call, before: list[Call], calls: list[Call]) -> dict[str, tuple[Any, ...]] | str:
    """Return what each module before the cut gives; one that also runs after it stays real, if it is a function."""
    again = {call.module for call in calls if call.start > entry.start}
    stubs: dict[str, tuple[Any, ...]] = {}
    for call in before:
        if call.module in again:
            if any(True for _ in call.module.parameters()):
                return f"{call.name} runs before and after the cut"
        elif strange := [x for x in leaves(call.output) if not isinstance(x, (Blank, *PLAIN))]:
            return f"{call.name} gives a {type(strange[0]).__name__}, not tensors"
        else:
            stubs[call.name] = (*stubs.get(call.name, ()), call.output)
    return stubs


def _others(arguments: dict[Any, Any], place: int | str) -> dict[Any, tuple[int, ...]]:
    """Return the shapes of the tensors that an entry is given beside the features: a table of positions, a mask."""
    return {key: tuple(x.shape) for key, x in arguments.items() if key != place and isinstance(x, Tensor)}


def _tried(cut: Cut, features: Tensor, others: dict[Any, tuple[int, ...]]) -> Cut | str:
    """Run the cut model on zeros, one sample more than was recorded: see what is written in place, or why it fails.

    Tensors beside the features may only be such as do not grow with the batch: those are not made from the samples.
    """
    now: dict[Any, tuple[int, ...]] = {}

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        now.update(_others({**dict(enumerate(args)), **kwargs}, cut.place))

    made: dict[str, list[Any]] = {name: [] for name in cut.stubs}

    def keeper(given: list[Any]) -> Callable[..., None]:
        return lambda module, args, output: given.append(output)

    handles = [cut.model.get_submodule(n).register_forward_hook(keeper(given)) for n, given in made.items()]
    handles.append(cut.model.get_submodule(cut.entry).register_forward_pre_hook(look, with_kwargs=True))
    try:
        with cut.feed(features) as blank:
            cut.call(blank)
    except Exception as error:
        return f"it does not run on stubs: {str(error).strip().partition(chr(10))[0][:120]}"
    finally:
        for handle in handles:
            handle.remove()
    if now != others:
        return f"{cut.entry} is given several tensors"
    stubs = {}
    for name, outputs in cut.stubs.items():
        tensors = (x for x in leaves(made[name]) if isinstance(x, Tensor))

        def mark(blank: Blank, tensors: Iterator[Tensor] = tensors) -> Blank:
            return replace(blank, written=next(tensors)._version > 0)

        stubs[name] = each(outputs, mark, Blank)
    return replace(cut, stubs=stubs)


def alike(cut: Cut, one: Any, other: Any) -> bool:
    """Tell whether features of the same samples have the same shape in two batches, of which inputs differ in shape."""
    with torch.no_grad():
        return cut.features(one).shape == cut.features(other).shape


def check(
    pm: pluggy.PluginManager,
    cut: Cut,
    criterion: nn.Module,
    batch: Batch,
    tolerance: float,
    dtype: torch.dtype | None = None,
) -> str:
    """Return in a phrase how a training step on the cut model differs from one on the whole, or nothing.

    The hook `train_step` runs on both, in the modes of training and with the same random draws; the loss, the outputs
    and the gradient of every parameter that trains are compared. A new head starts at zero and would hide all that
    comes before it, so it is random meanwhile. Call it in the autocast of the run's steps. The model, its gradients
    and all generators are as they were afterwards.

    :param criterion: the task's plain loss.
    :param tolerance: largest difference, as a share of the Euclidean norm, four times that of a gradient's; 0 asks
        for the same bits.
    :param dtype: in which features are stored; without it as they are computed.
    """
    (inputs, targets), loaded = batch, cut.loaded
    with draws.preserved(), _undone(loaded):
        whole = _step(pm, loaded, criterion, batch)
        with torch.no_grad():
            features = cut.features(inputs)
        try:
            with cut.feed(features.to(dtype) if dtype else features) as blank:
                part = _step(pm, loaded, criterion, (blank, targets))
        except Exception as error:
            return f"a step on the cut model fails: {str(error).strip().partition(chr(10))[0][:120]}"
    return _difference(whole, part, tolerance)


@contextmanager
def _undone(loaded: Loaded) -> Iterator[None]:
    """Make the head random, and give every tensor that a step may write to its bits back."""
    named = dict(loaded.model.named_parameters())
    head = [named[name] for name in named if among(name, loaded.stages[list(loaded.stages)[-1]])]
    kept = [(tensor, tensor.detach().clone()) for tensor in (*head, *loaded.model.buffers())]
    try:
        for number, weight in enumerate(head):
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=draws.generator("cut", number))
                weight.data.copy_(noise / weight[0].numel() ** 0.5)
        yield
    finally:
        for tensor, before in kept:
            tensor.data.copy_(before)


def _step(pm: pluggy.PluginManager, loaded: Loaded, criterion: nn.Module, batch: Batch) -> dict[str, Tensor | None]:
    draws.seed("cut", 0)
    result = pm.hook.train_step(model=loaded.model, batch=batch, criterion=criterion, forward=loaded.forward)
    live = {name: p for name, p in loaded.model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(result["loss"], list(live.values()), allow_unused=True)
    return {
        "the loss": result["loss"].detach(),
        "the outputs": result["outputs"].detach(),
        **{f"the gradient of {name}": g for name, g in zip(live, gradients, strict=True)},
    }


def _difference(whole: dict[str, Tensor | None], part: dict[str, Tensor | None], tolerance: float) -> str:
    """Return what differs most, by its Euclidean norm. A gradient that is all but nothing is only noise: it is
    measured by a hundredth of the largest."""
    norms = {name: float(x.norm()) for name, x in whole.items() if x is not None}
    largest = max((norm for name, norm in norms.items() if "gradient" in name), default=0.0)
    worst, what = tolerance, ""
    for name, wanted in whole.items():
        got = part[name]
        if wanted is None or got is None:
            if (wanted is None) != (got is None):
                return f"{name} needs what comes before the cut"
            continue
        gradient = "gradient" in name
        size = max(norms[name], largest / 100) * KINKS if gradient else norms[name]
        error = float((wanted.float() - got.float()).norm())
        share = error / size if size else float(error > 0)
        if not share <= worst:  # also where it is not a number
            worst, what = share, f"{name}: off by {error / norms[name] if norms[name] else 1:.1%}"
    return what
