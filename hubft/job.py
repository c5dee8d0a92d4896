"""Everything that defines a run: one frozen dataclass. Flags, help, job.json and the reload come from its fields."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal, Self

from hubft import rules
from hubft.base.bounds import SEEDS, check, check_bounds, in_words
from hubft.base.errors import JobError, Option
from hubft.base.serialize import settle

RATES = (0.0, 1e3)  # of learning, the least and the most
SMALLEST = 8  # pixels a side: the smallest images that are in use, of digits; what a model asks for is `train.sizes`


def _is_rate(text: str) -> bool:
    name, _, rate = text.rpartition("=")
    try:
        return bool(name) and RATES[0] <= float(rate) <= RATES[1]
    except ValueError:
        return False


PACKAGE = "package"  # the family of models that are packages themselves


@dataclass(frozen=True)
class Reference:
    """`family:name`; all after the first colon belongs to the family."""

    family: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        family, _, name = text.partition(":")
        if name.startswith("//"):
            raise JobError(f"{text!r} is a URL: write family:name, as in timm:resnet18.a1_in1k")
        if not name or not family.isidentifier():
            raise JobError(
                f"{text!r} is no model reference: write family:name, as in timm:resnet18.a1_in1k; "
                "`hubft families` lists the families"
            )
        return cls(family, name)

    def __str__(self) -> str:
        return f"{self.family}:{self.name}"


@dataclass(frozen=True)
class Head:
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
        settle(self)
        check(len(self.hidden) <= 8, "hidden", self.hidden, "at most 8 widths")
        for width in self.hidden:
            check_bounds("hidden", width, 1, 65536)
        check_bounds("dropout", self.dropout, 0.0, 0.99)
        check_bounds("outputs", self.outputs, 0, 1_000_000)


@dataclass(frozen=True)
class Labels:
    """Which columns of a table hold what, and what they mean."""

    input: str = ""
    """Column with the paths of the images, or their bytes; found, where one column alone holds such."""
    target: tuple[str, ...] = ()
    """Column with the labels, or several; found, where one column alone is called as such."""
    split: str = ""
    """Column that says of each row whether it is to train, to validate or to test."""
    group: str = ""
    """Column of which rows with one value stay on one side of a split: a patient, a video, a product."""
    images: str = ""
    """Folder where relative paths begin; that of the table, if none is given."""
    task: Literal["auto", "classification", "multilabel", "regression", "several"] = "auto"
    """What the labels mean: one class, several labels, numbers, several heads; auto is found from the data and shown."""
    separator: str = ""
    """Between the labels of one cell, as , or ; or |; found, where every label recurs."""
    empty: Literal["", "none", "unlabelled"] = ""
    """What an empty cell says where a cell holds several labels: that it has none, or that nobody looked."""

    def __post_init__(self) -> None:
        settle(self)
        check(len(self.separator) <= 8, "separator", self.separator, "a few characters")
        check(len(set(self.target)) == len(self.target), "target", self.target, "each column once")


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
        settle(self)
        rules.parse(self.train)
        check_bounds("epochs", self.epochs, 0, 100_000)
        check(self.epochs > 0 or self.probe, "epochs", self.epochs, "one or more where there is no ", Option("probe"))
        check(not self.budget or 0 < self.seconds <= 1e8, "budget", self.budget, "a time such as 90s, 5m or 1h")
        check_bounds("batch_size", self.batch_size, 1, 65536)
        few = 1 <= self.accumulate <= self.batch_size
        check(few, "accumulate", self.accumulate, "in 1..", Option("batch_size"))
        check_bounds("lr", self.lr, *RATES)
        rated = f"NAME=RATE, the rate {in_words(*RATES)}, as in layer4=0.001"
        for text in self.stage_lr:
            check(_is_rate(text), "stage_lr", text, rated)
        check(len(self.stage_rates) == len(self.stage_lr), "stage_lr", self.stage_lr, "one rate for each stage")
        check_bounds("body_lr", self.body_lr, 0.0, 1e3)
        check_bounds("weight_decay", self.weight_decay, 0.0, 1e3)
        check_bounds("warmup", self.warmup, 0.0, 1.0)
        check_bounds("clip", self.clip, 0.0, 1e9)
        check_bounds("layer_decay", self.layer_decay, 0.0, 1.0)
        check_bounds("averaging", self.averaging, 0.0, 0.999999)
        check_bounds("smoothing", self.smoothing, 0.0, 0.99)
        check_bounds("views", self.views, 1, 64)
        check_bounds("seed", self.seed, *SEEDS)

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
        settle(self)
        check_bounds("threads", self.threads, 0, 1024)
        check_bounds("workers", self.workers, -1, 1024)
        check_bounds("cache", self.cache, 0.0, 1e6)
        check_bounds("checkpoint_every", self.checkpoint_every, 0, 2**31)


@dataclass(frozen=True)
class Job:
    """Everything that defines a run.

    Values are kept as plain JSON has them: a `Path` becomes text, a list a tuple, a whole number a float where the
    field is one. A value of another type, or out of its bounds, is a JobError that names the field.
    """

    reference: str
    """Pretrained model, as family:name."""
    data: str | Path
    """Folder: train/CLASS/* with val/CLASS/* or test/CLASS/* (or both), or one folder of class folders. Or a table: CSV,
    TSV, JSON Lines or Parquet; or datasets:owner/name[@revision] of the Hugging Face Hub."""
    _: KW_ONLY
    labels: Labels = field(default_factory=Labels)
    head: Head = field(default_factory=Head)
    recipe: Recipe = field(default_factory=Recipe)
    compute: Compute = field(default_factory=Compute)
    size: int = 0
    """Side of the model's input, 8 pixels or more; 0 is the model's own."""
    holdout: float = 0.2
    """Share of each class held out for evaluation where DATA has no val/."""
    white: int = 0
    """Value of 16-bit grey that is white; 0: the smallest of 255, 511 to 65535 that no training image exceeds."""
    compress: str = "none"
    """How the trained model is compressed: none, bf16, or a method of the family."""
    package: Literal["full", "delta"] = "full"
    """full: all weights; delta: only what differs from the base, which is then needed to load it."""
    keep_anyway: bool = False
    """Make the package although training diverged and left a model that is worse than none."""
    output: str | Path = ""
    """The run's folder; empty makes runs/MODEL-DATA, numbered if that exists."""

    def __post_init__(self) -> None:
        settle(self)
        Reference.parse(self.reference)
        own = "0, for the model's own, or "
        check(self.size == 0 or SMALLEST <= self.size <= 4096, "size", self.size, own, in_words(SMALLEST, 4096))
        check_bounds("holdout", self.holdout, 0.01, 0.9)
        check_bounds("white", self.white, 0, 65535)

    @property
    def family(self) -> str:
        return Reference.parse(self.reference).family

    @property
    def name(self) -> str:
        return Reference.parse(self.reference).name

    def with_outputs(self, outputs: int) -> Job:
        """Return the job for a head of that many outputs."""
        return dataclasses.replace(self, head=dataclasses.replace(self.head, outputs=outputs))

    def published(self) -> Job:
        """Return the job as a package states it: without the paths of this machine, or the name of its user."""
        needed = self.package == "delta"  # then the package that it starts from must be found again
        reference = self.reference if needed else unplaced(self.reference)
        return dataclasses.replace(self, reference=reference, data=_named(Path(self.data), "data"), output="")


def unplaced(reference: str) -> str:
    """Return a reference to a package of this machine by the name of its folder alone; any other as it is."""
    family, _, name = reference.partition(":")
    folder = Path(name)
    if family != PACKAGE or not folder.is_absolute():
        return reference
    return f"{PACKAGE}:{_named(folder.parent if folder.name == 'package' else folder, 'local')}"


def _named(path: Path, otherwise: str) -> str:
    return path.name if path.name not in ("", Path.home().name) else otherwise
