"""Whether a model and its loss can learn at all: one batch of training samples, over and over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hubft.base.console import Console
from hubft.hookspecs import Batch
from hubft.run.phases import unaugmented
from hubft.run.prepare import Prepared
from hubft.run.probing import UNPROBED
from hubft.run.remarks import copies, torn
from hubft.train import loader, loop

STEPS = 100
LEARNED = 0.1
"""Share of the first loss that is left of a batch that is known by heart."""


@dataclass(frozen=True)
class Same:
    """One batch, so many times; what the loop expects of a loader."""

    batch: Batch
    steps: int
    start: int = 0
    per_epoch: int = 1
    parts: int = 1
    own: Sequence[int] = (0,)

    @property
    def batch_sampler(self) -> Same:
        return self

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            yield self.batch


@dataclass(frozen=True)
class Overfit:
    """What came of it."""

    lr: float
    first: float
    """Loss of the first step."""
    last: float
    steps: int
    error: float
    """Mean of `Task.errors` on the batch at the end, in eval mode: 0 is right."""
    silent: tuple[str, ...]
    """Stages that train and never got a gradient."""
    torn: int
    """Samples of the batch that have more than one label (`remarks.torn`): no model can say both."""

    @property
    def learned(self) -> bool:
        return self.last <= LEARNED * self.first

    def __str__(self) -> str:
        """Return it in a phrase."""
        return f"loss {self.first:.4g} -> {self.last:.4g} in {self.steps} steps, error {self.error:.1%}"

    @property
    def why(self) -> str:
        """What may keep it from learning, and what to try."""
        if not math.isfinite(self.last):
            return f"the loss is no number any more: try a lower --lr than {self.lr:.2g}"
        if self.torn:
            return f"{self.torn} of the samples are there with more than one label: mend the labels"
        if self.silent:
            return f"no gradient reaches {', '.join(self.silent)}: what is computed of them does not reach the loss"
        return f"try another --lr than {self.lr:.2g}, more stages by --train, or another --loss"


def one_batch(prepared: Prepared, console: Console) -> Overfit:
    """Return what training on the first batch alone comes to: without augmentation, averaging or decay, at a constant
    rate, until a tenth of the loss is left, or STEPS steps.

    A model that cannot know so few samples by heart has a loss, labels or layers that are wrong, whatever the data
    (Karpathy 2019, http://karpathy.github.io/2019/04/25/recipe/).
    """
    job, data, runtime = prepared.job, prepared.data, prepared.runtime
    recipe = replace(job.recipe, augment="none", averaging=0.0, weight_decay=0.0, l1=0.0, anchor=0.0, smoothing=0.0)
    recipe = replace(recipe, schedule="constant", warmup=0.0, epochs=STEPS, lr=job.recipe.lr or UNPROBED)
    samples = data.train[: recipe.batch_size]
    batch = next(iter(loader.in_order(unaugmented(prepared, samples), len(samples), runtime)))
    console.say(f"batch    {len(samples)} training {data.word}s, over and over, learning rate {recipe.lr:.2g}")
    state = loop.start(prepared.loaded, recipe, runtime, data.task)
    losses, heard = [], dict.fromkeys(state.stages.values(), 0.0)
    with runtime.using_threads():
        for step in loop.fit(prepared.pm, state, recipe, Same(batch, STEPS), runtime):
            losses.append(step.loss.item())
            for stage, norm in zip(step.stages, step.norms.tolist(), strict=True):
                heard[stage] += norm
            if not math.isfinite(losses[-1]) or losses[-1] <= LEARNED * losses[0]:
                break
        outputs, targets = loop.evaluate(prepared.pm, prepared.loaded, data.task, [batch], prepared.exact)
    live = {state.stages[p] for p in state.model.parameters() if p.requires_grad}
    silent = tuple(stage for stage, norm in heard.items() if stage in live and not norm)
    error = float(data.task.errors(outputs, targets).mean())
    return Overfit(
        recipe.lr, losses[0], losses[-1], len(losses), error, silent, torn(copies({"train": samples}), data.task)
    )
