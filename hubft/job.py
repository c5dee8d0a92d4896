"""Everything that defines a run: one frozen dataclass. Flags, help, job.json and the reload come from its fields."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal, Self

from hubft.errors import JobError
from hubft.train import stages


def check(good: bool, what: str, got: object, wanted: str) -> None:
    """Raise JobError where a field's value is out of its bounds."""
    if not good:
        raise JobError(f"{what} {got!r}: must be {wanted}")


def _within(value: float, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low <= value <= high  # False for NaN


def _is_rate(text: str) -> bool:
    name, _, rate = text.rpartition("=")
    try:
        return bool(name) and _within(float(rate), 0, 1e3)
    except ValueError:
        return False


@dataclass(frozen=True)
class Reference:
    """`family:name`; all after the first colon belongs to the family."""

    family: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        family, _, name = text.partition(":")
        if not name or not family.isidentifier():
            raise JobError(
                f"{text!r} is no model reference: write family:name, as in timm:resnet18.a1_in1k; "
                "`hubft families` lists the families"
            )
        return cls(family, name)

    def __str__(self) -> str:
        return f"{self.family}:{self.name}"


@dataclass(frozen=True)
class Task:
    """What the new head must give."""

    hidden: tuple[int, ...] = ()
    """Widths of hidden layers of the head; none makes it one Linear."""
    dropout: float = 0.0
    """Dropout before each Linear of the head, a probability."""
    outputs: int = 0
    """How many outputs; taken from the classes of the data."""
    pool: Literal["auto", "token", "patches", "both"] = "auto"
    """What a head is put on where the model has none: its class token, the mean of its patches, or both side by side;
    auto: the features that it gives, of tokens the class token, of a feature map the mean."""

    def __post_init__(self) -> None:
        check(len(self.hidden) <= 8, "--hidden", self.hidden, "at most 8 widths")
        for width in self.hidden:
            check(_within(width, 1, 65536), "--hidden", width, "a width in 1..65536")
        check(_within(self.dropout, 0, 0.99), "--dropout", self.dropout, "in [0, 0.99]")
        check(_within(self.outputs, 0, 1_000_000), "outputs", self.outputs, "in 0..1000000")


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
    """Time for the training, such as 90s, 5m or 1h: as many epochs as fit, by measurement; none if none fits."""
    batch_size: int = 32
    """Images a step, at most: an epoch is cut into even batches and drops none."""
    accumulate: int = 1
    """Parts in which the gradient of a batch is computed, one after the other, to save memory."""
    optimizer: str = "adamw"
    """adamw, sgd (Nesterov momentum 0.9), or any other optimizer of timm by its name."""
    lr: float = 0.0
    """Peak learning rate of the head; 0 chooses it by how many held-out training images the probe gets wrong."""
    body_lr: float = 1.0
    """Learning rate of the last stage before the head, as a share of --lr."""
    layer_decay: float = 0.8
    """Learning rate of each stage as a share of the stage after it, from the last before the head down."""
    stage_lr: tuple[str, ...] = ()
    """Peak learning rate of a stage, as NAME=RATE; instead of what --body-lr and --layer-decay give."""
    weight_decay: float = 0.05
    """Weight decay of weights with two or more dimensions."""
    schedule: Literal["cosine", "one-cycle", "constant"] = "cosine"
    """How the learning rate goes on after its rise: half a cosine to zero, one cycle, or as it is."""
    warmup: float = 0.1
    """Share of the run in which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 turns clipping off."""
    averaging: float = 0.9
    """Decay of the exponential moving average of the weights that is evaluated and packaged; 0 is off."""
    smoothing: float = 0.0
    """Label smoothing: the share of the target that is spread over all classes."""
    augment: Literal["auto", "none", "light", "standard", "strong"] = "auto"
    """none: the evaluation transform; light: mild crops and flips; standard: wide crops, flips, colour; strong:
    TrivialAugment on top, and Mixup or CutMix of every batch; auto: light if the probe knows images by it, or none."""
    views: int = 1
    """While leading stages are frozen, how many fixed views of an image are gone through, epoch by epoch; the
    first is the evaluation's, the others are augmented. Their features are cached."""
    seed: int = 0
    """Of every random draw of the run."""

    def __post_init__(self) -> None:
        stages.parse(self.train)
        check(_within(self.epochs, 0, 100_000), "--epochs", self.epochs, "in 0..100000")
        check(self.epochs > 0 or self.probe, "--epochs", self.epochs, "one or more where there is no --probe")
        check(not self.budget or 0 < self.seconds <= 1e8, "--budget", self.budget, "a time such as 90s, 5m or 1h")
        check(_within(self.batch_size, 1, 65536), "--batch-size", self.batch_size, "in 1..65536")
        check(_within(self.accumulate, 1, self.batch_size), "--accumulate", self.accumulate, "in 1..--batch-size")
        check(_within(self.lr, 0, 1e3), "--lr", self.lr, "zero or more")
        for text in self.stage_lr:
            check(_is_rate(text), "--stage-lr", text, "NAME=RATE, the rate zero or more, as in layer4=0.001")
        check(len(self.stage_rates) == len(self.stage_lr), "--stage-lr", self.stage_lr, "one rate for each stage")
        check(_within(self.body_lr, 0, 1e3), "--body-lr", self.body_lr, "zero or more")
        check(_within(self.weight_decay, 0, 1e3), "--weight-decay", self.weight_decay, "zero or more")
        check(_within(self.warmup, 0, 1), "--warmup", self.warmup, "in [0, 1]")
        check(_within(self.clip, 0, 1e9), "--clip", self.clip, "zero or more")
        check(_within(self.layer_decay, 0, 1), "--layer-decay", self.layer_decay, "in [0, 1]")
        check(_within(self.averaging, 0, 0.999999), "--averaging", self.averaging, "in [0, 1)")
        check(_within(self.smoothing, 0, 0.99), "--smoothing", self.smoothing, "in [0, 0.99]")
        check(_within(self.views, 1, 64), "--views", self.views, "in 1..64")
        check(_within(self.seed, 0, 2**63 - 1), "--seed", self.seed, "in 0..2^63-1")

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


@dataclass(frozen=True)
class Compute:
    """Where and in which precision the run computes."""

    device: str = "auto"
    """cpu, cuda, cuda:N, mps; auto takes the first accelerator."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of training: auto is the fastest that was measured and agrees with fp32. Evaluation is always fp32."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Of images and convolutions in memory; auto is measured."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the training step; auto: measured, and on where it pays off within the run."""
    threads: int = 0
    """Threads of PyTorch on the CPU; 0 is measured."""
    workers: int = -1
    """Processes that decode images; -1 is measured; 0 decodes in the main process."""
    cache: float = 10.0
    """Gigabytes of disk for features of frozen stages, over all runs; 0 computes them anew in every epoch."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 writes one after an epoch, a second apart at the least, and at the end."""

    def __post_init__(self) -> None:
        check(_within(self.threads, 0, 1024), "--threads", self.threads, "in 0..1024")
        check(_within(self.workers, -1, 1024), "--workers", self.workers, "in -1..1024")
        check(_within(self.cache, 0, 1e6), "--cache", self.cache, "zero or more")
        check(_within(self.checkpoint_every, 0, 2**31), "--checkpoint-every", self.checkpoint_every, "zero or more")


@dataclass(frozen=True)
class Job:
    """Everything that defines a run."""

    reference: str
    """Pretrained model, as family:name."""
    data: str
    """Folder: DATA/train/CLASS/* and DATA/val/CLASS/*, or one folder of class folders."""
    _: KW_ONLY
    task: Task = field(default_factory=Task)
    recipe: Recipe = field(default_factory=Recipe)
    compute: Compute = field(default_factory=Compute)
    size: int = 0
    """Side of the model's input, pixels; 0 is the model's own."""
    holdout: float = 0.2
    """Share of each class held out for evaluation where DATA has no train/ and val/."""
    compress: str = "none"
    """How the trained model is compressed: none, bf16, or a method of the family."""
    package: Literal["full", "delta"] = "full"
    """full: all weights; delta: only what differs from the base, which is then needed to load it."""
    output: str = ""
    """The run's folder; empty makes runs/MODEL-DATA, numbered if that exists."""

    def __post_init__(self) -> None:
        Reference.parse(self.reference)
        check(_within(self.size, 0, 4096), "--size", self.size, "in 0..4096")
        check(_within(self.holdout, 0.01, 0.9), "--holdout", self.holdout, "in [0.01, 0.9]")

    @property
    def family(self) -> str:
        return Reference.parse(self.reference).family

    @property
    def name(self) -> str:
        return Reference.parse(self.reference).name

    def with_outputs(self, outputs: int) -> Job:
        """Return the job for a head of that many outputs."""
        return dataclasses.replace(self, task=dataclasses.replace(self.task, outputs=outputs))

    def published(self) -> Job:
        """Return the job as a package states it: without the paths of this machine, or the name of its user."""
        name = Path(self.data).name
        return dataclasses.replace(self, data=name if name not in ("", Path.home().name) else "data", output="")
