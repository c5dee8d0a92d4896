"""Everything that defines a run: one frozen dataclass. Flags, help, job.json and the reload come from its fields."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal

from hubft import methods, surgery
from hubft.adapting import Adapting
from hubft.base.bounds import check, check_bounds, in_words
from hubft.base.errors import JobError, Option
from hubft.base.serialize import settle
from hubft.compute import Compute
from hubft.recipe import Recipe
from hubft.reference import PACKAGE, Reference, named, unplaced
from hubft.teaching import Teaching

__all__ = [
    "PACKAGE",
    "Adapting",
    "Columns",
    "Compute",
    "Head",
    "Job",
    "Labels",
    "Recipe",
    "Reference",
    "Teaching",
    "unplaced",
]

SMALLEST = 8  # pixels a side: the smallest images that are in use, of digits; what a model asks for is `train.sizes`

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""What `hubft.tracking` has a file of."""


@dataclass(frozen=True)
class Head:
    """What the new head must give."""

    hidden: tuple[int, ...] = ()
    """Widths of hidden layers of the head; none makes it one Linear."""
    dropout: float = 0.0
    """Dropout before each Linear of the head, a probability."""
    outputs: int = 0
    """How many outputs; taken from the classes of the data, and 0 where the model keeps its own head."""
    pool: Literal["auto", "own", "token", "patches", "both"] = "auto"
    """What a head is put on where the model has none: its class token, the mean of its patches, or both side by side;
    own: the features that it gives, of tokens the class token, of a feature map the mean; auto: the same, and of a text
    encoder that was trained to give the mean of its tokens, that mean."""

    def __post_init__(self) -> None:
        settle(self)
        check(len(self.hidden) <= 8, "hidden", self.hidden, "at most 8 widths")
        for width in self.hidden:
            check_bounds("hidden", width, 1, 65536)
        check_bounds("dropout", self.dropout, 0.0, 0.99)
        check_bounds("outputs", self.outputs, 0, 1_000_000)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what."""

    input: str = ""
    """Column with the paths of the images or their bytes, or with the texts; found, where one alone holds such."""
    target: tuple[str, ...] = ()
    """Column with the labels, or several; found, where one column alone is called as such."""
    split: str = ""
    """Column that says of each row whether it is to train, to validate or to test."""
    group: str = ""
    """Column of which rows with one value stay on one side of a split: a patient, a video, a product."""
    images: str = ""
    """Folder where relative paths begin; that of the table, if none is given."""
    pair: str = ""
    """Column with the second texts, where the model is to see two at once: a premise and its hypothesis, a question and
    an answer."""

    def __post_init__(self) -> None:
        settle(self)
        check(len(set(self.target)) == len(self.target), "target", self.target, "each column once")


@dataclass(frozen=True)
class Labels(Columns):
    """Which columns of a table hold what, and what they mean."""

    task: str = "auto"
    """What labels mean: classification, multilabel, regression, several; boxes of objects; tokens, a tag for each word;
    or generation, the text that follows; auto is found from the data and shown."""
    separator: str = ""
    """Between the labels of one cell, as , or ; or |; found, where every label recurs."""
    empty: Literal["", "none", "unlabelled"] = ""
    """What an empty cell says where a cell holds several labels: that it has none, or that nobody looked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(len(self.separator) <= 8, "separator", self.separator, "a few characters")


@dataclass(frozen=True)
class Job:
    """Everything that defines a run.

    Values are kept as plain JSON has them: a `Path` becomes text, a list a tuple, a whole number a float where the
    field is one. A value of another type, or out of its bounds, is a JobError that names the field.
    """

    reference: str
    """Pretrained model, as family:name."""
    data: str | Path
    """Folder: train/CLASS/* with val/CLASS/* or test/CLASS/* (or both), or one folder of class folders. Or a table:
    CSV, TSV, JSON Lines or Parquet; shards of WebDataset, 'train-{000000..000012}.tar', or a folder or URL of such; or
    datasets:owner/name[@revision] of the Hugging Face Hub."""
    _: KW_ONLY
    labels: Labels = field(default_factory=Labels)
    head: Head = field(default_factory=Head)
    recipe: Recipe = field(default_factory=Recipe)
    adapting: Adapting = field(default_factory=Adapting)
    compute: Compute = field(default_factory=Compute)
    teaching: Teaching = field(default_factory=Teaching)
    soup: tuple[str, ...] = ()
    """Packages of the same base and labels whose weights are averaged with those of REFERENCE, a package too, before
    anything else: folders, or owner/name."""
    greedy: bool = False
    """Of --soup: take only those that make the headline on validation data no worse, from the best one on."""
    size: int = 0
    """Side of the model's input, 8 pixels or more, or tokens of a text; 0: the model's own, or as texts need."""
    holdout: float = 0.2
    """Share of each class held out for evaluation where DATA has no val/."""
    surgery: str = ""
    """Changes of the layers before the head, by commas, made before training: relu=gelu and the like, batchnorm=frozen,
    batchnorm=group:N, dropout=P, drop_path=P."""
    white: int = 0
    """Value of 16-bit grey that is white; 0: the smallest of 255, 511 to 65535 that no training image exceeds."""
    compress: str = "none"
    """How the trained model is compressed, by commas: none, bf16, int8, prune:RATIO, torchao:METHOD (int8wo, int8dq),
    or a method of the family."""
    max_drop: float | None = None
    """Points that a method of --compress may cost, of the headline on validation data, in hundredths; of an error such
    as RMSE, percent of it. What costs more is left out."""
    package: Literal["full", "delta"] = "full"
    """full: all weights, or with an adapter that is not merged the adapter alone; delta: only what differs from the
    base, which is then needed to load it, as for an adapter."""
    keep_anyway: bool = False
    """Make the package although training diverged and left a model that is worse than none."""
    track: tuple[Tracker, ...] = ()
    """Tools that show the run beside others, while it goes: tensorboard, wandb, mlflow, trackio; each is an extra."""
    output: str | Path = ""
    """The run's folder; empty makes runs/MODEL-DATA, numbered if that exists."""

    def __post_init__(self) -> None:
        settle(self)
        Reference.parse(self.reference)
        own = "0, for the model's own, or "
        check(self.size == 0 or SMALLEST <= self.size <= 4096, "size", self.size, own, in_words(SMALLEST, 4096))
        check_bounds("holdout", self.holdout, 0.01, 0.9)
        check_bounds("white", self.white, 0, 65535)
        check(len(set(self.soup)) == len(self.soup), "soup", self.soup, "each package once")
        check(len(set(self.track)) == len(self.track), "track", self.track, "each tool once")
        methods.parse(self.compress)
        surgery.parse(self.surgery)
        if self.max_drop is not None:
            check_bounds("max_drop", self.max_drop, 0.0, 100.0)
        if self.adapting.apart and self.package == "delta":
            why = " delta: an adapter is stored alone as it is: leave it out, or write "
            raise JobError(Option("package"), why, Option("merge"), " to fold it in")

    @property
    def over_base(self) -> bool:
        """Whether the package holds only a part of the weights, and its base is needed to load it."""
        return self.package == "delta" or self.adapting.apart

    @property
    def family(self) -> str:
        return Reference.parse(self.reference).family

    @property
    def name(self) -> str:
        return Reference.parse(self.reference).name

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the packages that the job builds on: of those which it starts from, and of its teacher."""
        return (*((self.name,) if self.family == PACKAGE else ()), *self.soup, *filter(None, (self.teaching.teacher,)))

    def check_together(self) -> None:
        """Refuse options that mean nothing beside the others.

        :raises JobError: one of them; the cure is in the message.
        """
        self.adapting.check_alone()
        self.compute.check_together()
        self.recipe.check_together(self.adapting.on)
        if self.soup and self.family != PACKAGE:
            raise JobError(Option("soup"), f": {self.reference} is no package; write {PACKAGE}:FOLDER of the first one")
        if self.surgery and (self.soup or self.adapting.apart):
            beside = "soup" if self.soup else "adapter"
            why = ": its package is weights over the base as it is; leave one of them out"
            raise JobError(Option("surgery"), " beside ", Option(beside), why)
        if self.greedy and not self.soup:
            raise JobError(Option("greedy"), " says how a soup is made: name packages by ", Option("soup"))

    def with_outputs(self, outputs: int) -> Job:
        """Return the job for a head of that many outputs."""
        return dataclasses.replace(self, head=dataclasses.replace(self.head, outputs=outputs))

    def taught_by(self, teacher: str) -> Job:
        """Return the job of the same model, with a teacher.

        :raises JobError: it has one.
        """
        if self.teaching.teacher:
            raise JobError(Option("teacher"), f" {self.teaching.teacher!r}: the teacher is named already, {teacher!r}")
        return dataclasses.replace(self, teaching=dataclasses.replace(self.teaching, teacher=teacher))

    def published(self) -> Job:
        """Return the job as a package states it: without the paths of this machine, or the name of its user."""
        needed = self.over_base  # then the package that it starts from must be found again
        reference = self.reference if needed else unplaced(self.reference)
        labels = dataclasses.replace(self.labels, images="")
        data = named(Path(self.data), "data")
        teacher = unplaced(f"{PACKAGE}:{self.teaching.teacher}").partition(":")[2]
        teaching = dataclasses.replace(self.teaching, teacher=teacher) if teacher else self.teaching
        soup = tuple(unplaced(f"{PACKAGE}:{name}").partition(":")[2] for name in self.soup)
        found = dataclasses.replace(self, reference=reference, data=data, labels=labels, soup=soup)
        compute = dataclasses.replace(self.compute, cache_folder="")
        return dataclasses.replace(found, teaching=teaching, compute=compute, output="", track=())
