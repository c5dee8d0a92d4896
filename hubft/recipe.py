"""How a model is trained: the part of a job that another data set could share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hubft import rules
from hubft.base.bounds import SEEDS, check, check_bounds, in_words
from hubft.base.errors import JobError, Option
from hubft.base.serialize import settle

RATES = (0.0, 1e3)  # of learning, the least and the most
PASSED = "python"
"""In place of a module, of a loss that was passed as a callable: `python:NAME`."""


def _is_rate(text: str) -> bool:
    name, _, rate = text.rpartition("=")
    try:
        return bool(name) and RATES[0] <= float(rate) <= RATES[1]
    except ValueError:
        return False


def _is_weight(text: str) -> bool:
    name, _, weight = text.rpartition("=")
    try:
        return bool(name) and 0 <= float(weight) <= 1e6
    except ValueError:
        return False


@dataclass(frozen=True)
class Recipe:
    """How the model is trained."""

    train: str = "all,-norms"
    """What trains, by commas: all, head, last:N, a stage's name, type:CLASS, match:REGEX, norms; @START, - to hold."""
    probe: bool = True
    """Solve the new head to convergence on the features of the base first, and train on from there."""
    epochs: int = 8
    """Passes over the training images; with --budget at most so many."""
    budget: str = ""
    """Time for the training, such as 90s, 5m or 1h: as many epochs as fit, by measurement; where not one fits, an epoch
    of as many samples as fit, or a probe alone."""
    batch_size: int = 32
    """Images a step, at most: an epoch is cut into even batches and drops none."""
    accumulate: int = 1
    """Parts in which the gradient of a batch is computed, one after the other, to save memory."""
    tokens: int = 0
    """Tokens of texts that are computed at once, at most, those that fill up among them: a batch of more is computed in
    parts, as with --accumulate; 0 is 16,384, as many as 32 texts of 512."""
    optimizer: str = "adamw"
    """adamw, sgd (Nesterov momentum 0.9), adam, rmsprop, adamw8bit of bitsandbytes, or any other of timm by
    its name."""
    lr: float = 0.0
    """Peak learning rate of the head; 0 chooses it by how many held-out training images the probe gets wrong."""
    body_lr: float | None = None
    """Learning rate of the last stage before the head, as a share of --lr; 1, with an adapter 10."""
    layer_decay: float | None = None
    """Learning rate of each stage as a share of the stage after it, from the last before the head down; 0.8, with an
    adapter 1."""
    stage_lr: tuple[str, ...] = ()
    """Peak learning rate of a stage, as NAME=RATE; instead of what --body-lr and --layer-decay give."""
    weight_decay: float = 0.05
    """Weight decay of weights with two or more dimensions."""
    anchor: float = 0.0
    """Weight decay of the stages before the head towards the weights that they were loaded with, in place of
    --weight-decay: what the base knows is forgotten less."""
    wise: bool = False
    """Take the model on the line from the probe to what was trained that does best on training samples held out for
    this, a tenth of them."""
    schedule: Literal["cosine", "linear", "polynomial", "step", "one-cycle", "constant"] = "cosine"
    """How the learning rate goes on after its rise: half a cosine to zero, a line to zero, a line to a power, a tenth
    after each third, one cycle, or as it is."""
    power: float = 0.9
    """Of the schedule polynomial: to which the line is raised."""
    warmup: float = 0.1
    """Share of the run in which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 turns clipping off."""
    averaging: float = 0.9
    """Decay of the exponential moving average of the weights that is evaluated and packaged; 0 is off."""
    l1: float = 0.0
    """L1 regularisation of weights with two or more dimensions: so much of their absolute sum is in the loss."""
    loss: str = "auto"
    """cross-entropy, focal for one class; bce, asymmetric for several labels; mse, l1, huber for numbers; auto takes
    the first of these. Or MODULE:CLASS of your own, called as criterion(outputs, targets): a mean over the samples."""
    class_weights: tuple[str, ...] = ()
    """Weights of classes in the loss: balanced, or NAME=WEIGHT."""
    head_weights: tuple[str, ...] = ()
    """Of several heads, the weight of each in the loss: uncertainty, or NAME=WEIGHT."""
    sampler: Literal["even", "balanced"] = "even"
    """even: an epoch shows each sample once; balanced: as many draws, of each class, or stratum, equally often."""
    patience: int = 0
    """Epochs without a better headline on validation data after which training stops; 0 never does."""
    keep: Literal["last", "best"] = "last"
    """Which state is packaged: the last, or that with the best headline on validation data."""
    smoothing: float = 0.0
    """Label smoothing: the share of the target that is spread over all classes."""
    augment: Literal["auto", "none", "light", "standard", "strong"] = "auto"
    """none: the evaluation transform; light: mild crops and flips; standard: wide crops, flips, colour; strong:
    TrivialAugment on top, and Mixup or CutMix of every batch; auto: light if the probe knows images by it, or none.
    Of texts: light, standard and strong leave out 5, 10 and 20 % of the tokens; auto is none."""
    views: int = 1
    """While leading stages are frozen, how many fixed views of an image are gone through, epoch by epoch; the
    first is the evaluation's, the others are augmented. Their features are cached."""
    seed: int = 0
    """Of every random draw of the run."""

    def __post_init__(self) -> None:
        settle(self)
        rules.parse(self.train)
        check_bounds("epochs", self.epochs, 0, 100_000)
        check(not self.budget or 0 < self.seconds <= 1e8, "budget", self.budget, "a time such as 90s, 5m or 1h")
        check_bounds("batch_size", self.batch_size, 1, 65536)
        few = 1 <= self.accumulate <= self.batch_size
        check(few, "accumulate", self.accumulate, "in 1..", Option("batch_size"))
        check_bounds("tokens", self.tokens, 0, 2**31)
        check_bounds("lr", self.lr, *RATES)
        rated = f"NAME=RATE, the rate {in_words(*RATES)}, as in layer4=0.001"
        for text in self.stage_lr:
            check(_is_rate(text), "stage_lr", text, rated)
        check(len(self.stage_rates) == len(self.stage_lr), "stage_lr", self.stage_lr, "one rate for each stage")
        if self.body_lr is not None:
            check_bounds("body_lr", self.body_lr, 0.0, 1e3)
        check_bounds("weight_decay", self.weight_decay, 0.0, 1e3)
        check_bounds("anchor", self.anchor, 0.0, 1e3)
        check_bounds("power", self.power, 0.01, 100.0)
        check_bounds("warmup", self.warmup, 0.0, 1.0)
        check_bounds("clip", self.clip, 0.0, 1e9)
        if self.layer_decay is not None:
            check_bounds("layer_decay", self.layer_decay, 0.0, 1.0)
        check_bounds("averaging", self.averaging, 0.0, 0.999999)
        check_bounds("smoothing", self.smoothing, 0.0, 0.99)
        check_bounds("l1", self.l1, 0.0, 1e3)
        check_bounds("patience", self.patience, 0, 100_000)
        known = re.fullmatch(r"[a-z0-9-]+|[^\W\d][\w.]*:[\w.<>]+", self.loss)
        check(bool(known), "loss", self.loss, "the name of a loss, as focal, or MODULE:CLASS of your own")
        for name, word in (("class_weights", "balanced"), ("head_weights", "uncertainty")):
            texts = getattr(self, name)
            good = texts == (word,) or all(_is_weight(text) for text in texts)
            check(good, name, texts, f"{word}, or NAME=WEIGHT for some names, as in rose=2")
        check_bounds("views", self.views, 1, 64)
        check_bounds("seed", self.seed, *SEEDS)

    def check_together(self, adapted: bool) -> None:
        """Refuse an option that means nothing beside the others.

        :param adapted: adapters train in place of the body.
        :raises JobError: one of them; the cure is in the message.
        """
        polynomial = self.schedule == "polynomial" or self.power == Recipe.power
        check(polynomial, "power", self.power, "left out: it is of ", Option("schedule"), " polynomial")
        if self.wise and not (self.probe and self.epochs):
            raise JobError(Option("wise"), " needs a probe to begin from and epochs: leave it out")
        if adapted and (self.wise or self.anchor):
            why = ": with an adapter the base itself does not move; leave it out"
            raise JobError(Option("wise" if self.wise else "anchor"), why)

    @property
    def own_loss(self) -> bool:
        """Whether `loss` names one of the user's own (`hubft.tasks.ownloss`)."""
        return ":" in self.loss

    @property
    def seconds(self) -> float:
        """What `budget` says, in seconds; 0 if it says nothing, or nothing that is a time."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", self.budget)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0

    @property
    def stage_rates(self) -> dict[str, float]:
        """What `stage_lr` says, by the name of the stage."""
        pairs = [text.rpartition("=") for text in self.stage_lr]
        return {name: float(rate) for name, _, rate in pairs}
