"""Optimizer and averaging: what `Recipe` means by them. The learning rate over the steps is in `schedule`."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError, Option, suggest
from hubft.base.whole import in_shards, local
from hubft.families import stages
from hubft.hookspecs import Loaded
from hubft.job import Recipe

BODY_LR, LAYER_DECAY = 1.0, 0.8
"""Of a recipe that leaves them open."""
TORCH: Mapping[str, tuple[Callable[..., torch.optim.Optimizer], Mapping[str, Any]]] = {
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "adam": (torch.optim.Adam, {"fused": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
    "rmsprop": (torch.optim.RMSprop, {}),
}
"""Optimizers that are torch's own, and what they get beside its defaults.
Fused ones take a quarter of the time, on a CPU."""
EIGHT, LIBRARY = "adamw8bit", "bitsandbytes"
"""AdamW that keeps its two averages in 8 bits (Dettmers et al. 2022, https://arxiv.org/abs/2110.02861), of weights of
4096 numbers or more: a quarter of the memory; and who has it. timm makes it with CUDA alone."""


def check_optimizer(name: str) -> None:
    """Raise JobError unless `optimizer` can make one of this name, and a run with it can be resumed to the same bits.

    Adan and the Lambs count steps by group, not by parameter: where one thaws late, the bias of its first moments
    is corrected as if it had trained from the start.
    """
    if name in TORCH:
        return  # no need of timm
    if name == EIGHT:
        if importlib.util.find_spec(LIBRARY) is None:
            raise JobError(Option("optimizer"), f" {name} " + missing(LIBRARY, installs(LIBRARY)))
        return
    import timm.optim

    known = [str(one) for one in timm.optim.list_optimizers()]
    if name not in known:
        raise JobError(
            Option("optimizer"),
            f" {name!r} is none of timm's, such as adamw, sgd, lion, lamb.{suggest(name.lower(), known)} "
            'All: python -c "import timm.optim; print(*timm.optim.list_optimizers())"',
        )
    info = timm.optim.get_optimizer_info(name)
    if info.second_order:
        why = "it needs second derivatives, which the loop does not compute"
    elif isinstance(info.opt_class, str):
        why = f"it is {info.opt_class}, of a library that hubft does not depend on"
    elif info.opt_class.__name__ == "Kron":
        why = "it draws from a generator of its own, so a resumed run would end with other bits"
    else:
        return
    raise JobError(Option("optimizer"), f" {name}: {why}; try ", Option("optimizer"), " adamw")


def rates(loaded: Loaded, recipe: Recipe) -> dict[str, float]:
    """Return the peak learning rate of every stage, from the head down to the input.

    Layer-wise decay as in ULMFiT (https://arxiv.org/abs/1801.06146), by stage.

    :raises JobError: `--stage-lr` names a stage that the model does not have.
    """
    order = list(loaded.stages)[::-1]
    last = BODY_LR if recipe.body_lr is None else recipe.body_lr
    decay = LAYER_DECAY if recipe.layer_decay is None else recipe.layer_decay
    found = {stage: recipe.lr * (last * decay ** (depth - 1) if depth else 1.0) for depth, stage in enumerate(order)}
    for stage in recipe.stage_rates:
        if stage not in found:
            raise JobError(
                Option("stage_lr"),
                f": {stage!r} is no stage; this model has {', '.join(loaded.stages)}.{suggest(stage, order)}",
            )
    return found | recipe.stage_rates


def optimizer(loaded: Loaded, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer of `--optimizer` over every parameter, frozen ones included; the head's group is the first.

    A frozen parameter has no gradient, and is skipped: no decay, no momentum. So nothing is rebuilt when a stage
    thaws. Biases and norms (fewer than two dimensions) are not decayed. The decay of `adamw` is decoupled
    (https://arxiv.org/abs/1711.05101), that of `adam`, `sgd` and `rmsprop` is coupled: added to the gradient, as torch
    and torchvision have it (`sgdw` is the decoupled one).

    :raises JobError: see `check_optimizer` and `rates`.
    """
    check_optimizer(recipe.optimizer)
    of, grouped = stages.stage_of(loaded), defaultdict[tuple[float, bool], list[Tensor]](list)
    for stage, rate in rates(loaded, recipe).items():
        anchored = bool(recipe.anchor) and stage != list(loaded.stages)[-1]  # it decays towards its base
        for name, parameter in loaded.model.named_parameters():
            if of[name] == stage and parameter.is_floating_point():  # in integers nothing trains
                grouped[rate, parameter.ndim > 1 and not anchored].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": its, "peak_lr": rate, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for (rate, decayed), its in grouped.items()
    ]
    if recipe.optimizer in TORCH:
        make, options = TORCH[recipe.optimizer]
        fused = next(loaded.model.parameters()).device.type in ("cpu", "cuda")
        return make(groups, lr=recipe.lr, **{**options, **({"fused": fused} if "fused" in options else {})})
    if recipe.optimizer == EIGHT:
        import bitsandbytes  # not at the top: it takes seconds

        eight: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, lr=recipe.lr)
        return eight
    import timm.optim

    made: torch.optim.Optimizer = timm.optim.create_optimizer_v2(groups, opt=recipe.optimizer, lr=recipe.lr)
    return made


class Average:
    """Exponential moving average of the floating tensors that train, buffers included; of tied ones, by the first name.

    The decay is warmed up, min(decay, (1 + step) / (10 + step)), so that the start is forgotten soon.
    torch.optim.swa_utils.AveragedModel is not used: with buffers it also averages integers, and rounding
    would move the counters of frozen norms.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, its = decay, model.state_dict(keep_vars=True)
        floating = {name: tensor for name, tensor in its.items() if tensor.is_floating_point()}
        first = {_place(tensor): name for name, tensor in reversed(floating.items())}
        self.live = {name: tensor.detach() for name, tensor in floating.items() if first[_place(tensor)] == name}
        self.tensors: dict[str, Tensor] = {}
        """The averages, by name; what has not moved yet is its own."""

    def include(self, names: Iterable[str]) -> None:
        """Average these from now on, too."""
        for name in names:
            if name in self.live and name not in self.tensors:
                self.tensors[name] = self.live[name].detach().clone()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights, after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live = [local(self.live[name]) for name in self.tensors]
        torch._foreach_lerp_([local(average) for average in self.tensors.values()], live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the model carry the averaged weights for the time of a `with`."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep(self) -> None:
        """Have the model carry the averaged weights from now on."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.tensors.items():
            live, own = local(self.live[name]), local(average)
            kept = live.clone()
            live.copy_(own)
            own.copy_(kept)


def _place(tensor: Tensor) -> tuple[int, int]:
    """Return where a tensor lies, in its storage and in memory; of one in shards, which it is: a shard may be empty."""
    if in_shards(tensor):
        return id(tensor), 0
    return int(tensor.storage_offset()), tensor.untyped_storage().data_ptr()
