"""One setting of the machine, tried on real samples: how long it takes, and whether it agrees with fp32.

A pass is a training step without the optimizer, or a forward pass in evaluation mode. Each runs on a copy
of the model, so the run's own model, its norm statistics and its modes are never touched.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pluggy
import torch
from torch import Tensor, nn

from hubft.base import draws, memory
from hubft.base.batches import concat, count, rows
from hubft.base.errors import TrainingError
from hubft.families import stages
from hubft.hookspecs import Batch, Loaded
from hubft.job import Compute, Job
from hubft.machine.runtime import Runtime
from hubft.machine.timings import Setting, Timing

FEATURES = 0.025
"""Largest error of the features that the head gets, as a share of how far they differ between images. In bf16 it
was 0.041 to 0.045 for EfficientNet-Lite0, which lost accuracy by it, and 0.002 to 0.013 for ResNet-18 and ViT-tiny,
which lost none."""
COSINE = 0.98
"""Least cosine between the gradient of a training step and that in fp32."""
LOSS = 0.02
"""Largest error of a training step's loss, as a share of it."""
SCALE = 1024.0  # of the loss in fp16, whose small gradients would vanish; a direction has no scale


class Bench:
    """A model, real samples, and a clock."""

    def __init__(
        self,
        pm: pluggy.PluginManager,
        job: Job,
        loaded: Loaded,
        criterion: nn.Module,
        batch: Batch,
        device: torch.device,
    ) -> None:
        self.pm, self.criterion, self.device = pm, criterion, device
        self.saves = job.compute.checkpoint_activations
        self.loaded = replace(loaded, model=copy.deepcopy(loaded.model))
        # What trains in the end: most of the run's time, and its longest steps.
        names = pm.hook.freeze(loaded=self.loaded, train=job.recipe.train, progress=1.0)
        stages.set_trainable(self.loaded.model, frozenset(names))
        _random_head(self.loaded)
        # A small batch is enough for a CPU; an accelerator would idle with one.
        size = max(2, min(8, job.recipe.batch_size) if device.type == "cpu" else job.recipe.batch_size)
        self.batch: Batch = rows(concat([batch] * -(-size // count(batch))), 0, size)
        self.images = size
        self.wanted: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # in fp32, by kind

    def first(self, setting: Setting) -> float:
        """Return seconds an image of a setting's first pass; with as many images in it as there is memory for."""
        while True:
            try:
                return _seconds(self._ready(setting)) / self.images
            except RuntimeError as error:
                if not memory.ran_out(error):
                    raise
                if self.images < 4:
                    raise TrainingError(
                        f"a step of {self.images} samples runs out of memory: ", *memory.CURES
                    ) from error
            self.images //= 2
            self.batch = rows(self.batch, 0, self.images)
            memory.give_back(self.device)

    def time(self, setting: Setting, best: float | None = None) -> Timing:
        """Return how long a setting takes: the shorter of two passes after one to warm up.

        The second is left out where the first takes half as long again as `best`.
        """
        once = self._ready(setting)
        first = _seconds(once)
        second = _seconds(once)
        if best is not None and second > 1.5 * best * self.images:
            return Timing(second / self.images, first)
        return Timing(min(second, _seconds(once)) / self.images, first)

    def agreement(self, setting: Setting) -> dict[str, Any]:
        """Return by how much a setting misses the results in fp32, and whether it `agrees`."""
        if setting.kind not in self.wanted:
            plain = replace(setting, precision="fp32", memory_format="contiguous", compile=False)
            self.wanted[setting.kind] = self._ready(plain, compared=True)()
        features, loss, gradient = self.wanted[setting.kind]
        found, its_loss, its_gradient = self._ready(setting, compared=True)()
        if setting.kind == "forward":
            error = float((found - features).norm() / (features - features.mean(0)).norm())
            return {"error": error, "agrees": error <= FEATURES}
        missed = float((its_loss - loss).abs() / loss.abs())
        cosine = float(torch.nn.functional.cosine_similarity(gradient, its_gradient, 0))
        return {"loss_error": missed, "cosine": cosine, "agrees": missed <= LOSS and cosine >= COSINE}

    def _ready(self, setting: Setting, compared: bool = False) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
        """Return a pass on a copy of the model: (features, loss, gradient), on the CPU in fp32.

        :param compared: with another's, so that nothing may be dropped at random, which takes its time in a step.
        """
        runtime = Runtime(replace(setting.compute(self.device, Compute(workers=0)), checkpoint_activations=self.saves))
        model = runtime.place(copy.deepcopy(self.loaded.model))
        loaded = replace(self.loaded, model=model)
        batch = runtime.to_device(self.batch)
        called, features = runtime.compiled(model), _head_input(model, self.loaded.head)
        step = setting.kind == "step"
        if not step:
            model.eval()
        else:
            _norms_only(model) if compared else stages.train_mode(model)

        def once() -> tuple[Tensor, Tensor, Tensor]:
            draws.seed("measure")
            model.zero_grad()
            with runtime.using_threads(), torch.set_grad_enabled(step), runtime.checkpointing(loaded):
                with runtime.autocast():
                    result = self.pm.hook.train_step(
                        model=called, batch=batch, criterion=self.criterion, forward=self.loaded.forward
                    )
                if step:
                    (result["loss"] * (SCALE if setting.precision == "fp16" else 1.0)).backward()
                if self.device.type != "cpu":
                    torch.accelerator.synchronize(self.device)
            gradients = [p.grad.flatten().float().cpu() for p in model.parameters() if p.grad is not None]
            gradient = torch.cat(gradients) if gradients else torch.empty(0)
            seen = features[-1] if features else result["outputs"]
            features.clear()
            return seen.detach().float().cpu(), result["loss"].detach().float().cpu(), gradient

        return once


def _seconds(once: Callable[[], object]) -> float:
    begun = time.perf_counter()
    once()
    return time.perf_counter() - begun


def decoding(decode: Callable[[], object], images: int, epochs: int) -> float:
    """Return seconds an image and epoch for what `decode` does with `images`: the first time, and then again."""
    first, again = _seconds(decode), _seconds(decode)
    return (first + again * (epochs - 1)) / epochs / images


def _random_head(loaded: Loaded) -> None:
    """A new head starts at zero, and would hide every difference."""
    random = draws.generator("measure")
    head = [name for name, stage in stages.stage_of(loaded).items() if stage == list(loaded.stages)[-1]]
    for name in head:
        parameter = loaded.model.get_parameter(name)
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=random)


def _head_input(model: nn.Module, head: str) -> list[Tensor]:
    """Return a list to which every call of the head adds its input; for outputs, two of two classes, tell less."""
    seen: list[Tensor] = []
    module = model.get_submodule(head)
    module.register_forward_pre_hook(lambda _, given: seen.extend(given[:1]))  # the copy's own: it stays
    return seen


def _norms_only(model: nn.Module) -> None:
    """Put norms that train in training mode and all else in eval mode: random dropping would look like an error."""
    stages.train_mode(model)
    for module in model.modules():
        module.training = module.training and getattr(module, "running_mean", None) is not None
