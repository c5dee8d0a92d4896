"""Kinds of inputs: what reads samples of a kind, augments them, and puts them on the device.

A modality is the code for a kind of inputs; what a model takes of that kind is plain data (`hubft.inputs`). They are
found by kind, here alone: a new one is a room beside `images/` and a line in `KINDS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hubft.base.bars import Counting
from hubft.base.errors import FamilyError
from hubft.base.marks import NO_MARKS, Drawing, Marks
from hubft.data.asked import Asked
from hubft.data.rows import Row, Source
from hubft.data.split import Content
from hubft.inputs import Inputs
from hubft.job import Columns, Job
from hubft.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hubft.base.store import Scratch
    from hubft.hookspecs import Batch, Loaded
    from hubft.images.contact import Shelf
    from hubft.job import Recipe
    from hubft.machine.runtime import Runtime

KINDS = {
    "images": "hubft.images.modality",
    "bands": "hubft.images.banded",
    "text": "hubft.text.modality",
    "documents": "hubft.text.language",
    "words": "hubft.text.sentences",
}
"""Kind of inputs -> the module whose `MODALITY` reads it."""


class Sample(Content, Protocol):
    """A sample that was proved: its input can be read."""

    @property
    def place(self) -> str:
        """As its source knows it."""

    @property
    def target(self) -> Any:
        """As the task encodes it."""


class Views(Protocol):
    """Samples as the model shall see them, before what is done on its device: a `Dataset` of (input, target).

    Item (0, i) is the evaluation's view of sample i; item (v, i) its augmented view v, a function of (seed, v, i).
    """

    task: Task
    samples: Sequence[Any]
    inputs: Inputs

    def __getitem__(self, index: tuple[int, int]) -> tuple[Any, Any]: ...

    def under(self, recipe: Recipe) -> Views:
        """Return the same samples, what was kept of them included, as another recipe augments them."""

    def targets(self) -> Any:
        """Return the targets of all samples, a row each."""

    def costs(self) -> Sequence[int] | None:
        """Return how much there is to compute of each sample, where that differs, in any unit; else None.

        Batches are made of samples of like costs then: each costs as much as its dearest sample, times their number.
        """

    def collate(self, items: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Return items as a batch."""

    def keep(self, view: int) -> None:
        """Keep what a view is made from, once it was read; before there are other processes."""


class Modality(Protocol):
    """What the core asks of a kind of inputs. Its torch is imported when something is computed."""

    kind: ClassVar[str]
    takes: ClassVar[type[Inputs]]
    """What a model of this kind takes, as plain data."""
    word: ClassVar[str]
    """What a sample is called, one of them, in messages and in a self-test: `image`."""
    one: ClassVar[str]
    """The same with its article."""
    files: ClassVar[str]
    """As what kind of inputs its files are looked for (`hubft.data`)."""
    equal: ClassVar[str]
    """What equal samples have in common, in messages: `pixels`."""

    # ---- data; without torch ----

    def settled(self, job: Job) -> Job:
        """Return a job with nothing left to choose in what there is no choice in, for these inputs.

        :raises JobError: it asks for what has no meaning for them.
        """

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        """Return what a model is asked about, as it was named on the command line or in Python.

        :param columns: of tables, those with the inputs; found, where they are not named.
        :raises DataError: there is nothing to be asked about.
        """

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any], counting: Counting) -> Sequence[Any]:
        """Return of each row its `Sample`, or as a text why it is none.

        :param targets: of the rows, encoded.
        """

    def notes(self, samples: Sequence[Any]) -> Iterable[str]:
        """Yield what a user should know of these inputs, whatever their labels say."""

    def sizes(self, sample: Any) -> Mapping[str, int]:
        """Return how large a sample is, by what is counted: `width`, `characters`."""

    def excerpt(self, sample: Any) -> str:
        """Return what a line can show of a sample; empty where that is nothing."""

    # ---- what the model takes ----

    def fitted(self, inputs: Inputs, samples: Sequence[Any], job: Job) -> Inputs:
        """Return what a model takes, with what the job and the training samples say of it."""

    def suits(self, inputs: Inputs, samples: Sequence[Any]) -> None:
        """Check that a model takes these samples, of whichever part of the data.

        :raises DataError: it does not take them all; names the first.
        """

    def remarks(self, training: Views) -> Iterable[str]:
        """Yield lines on how the training samples are taken, and what looks wrong with what the model is given."""

    def check(self, loaded: Loaded, job: Job) -> None:
        """Check that a model can use the inputs that were asked for.

        :raises JobError: it cannot; names what it could use.
        """

    def blank(self, inputs: Inputs, number: int) -> Any:
        """Return so many inputs of zeros, as the model takes them."""

    def noise(self, inputs: Inputs, number: int, signs: Sequence[int] = ()) -> Any:
        """Return so many inputs that are drawn, as the model takes them: the same at each call.

        :param signs: 1 or -1 for each, where the inputs of one sign shall have something in common.
        """

    # ---- batches ----

    def views(
        self, source: Source, task: Task, samples: Sequence[Any], inputs: Inputs, recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Views:  # fmt: skip
        """Return samples as a model that takes `inputs` shall see them.

        :param recipe: whose augmentation is used; without one, there is none.
        :param scratch: where they are kept once they are read; without one, each is read every time.
        """

    def ready(self, inputs: Inputs, runtime: Runtime) -> Callable[[Any], Any]:
        """Return what makes a collated batch of views the model's inputs, on its device."""

    def parts(self, batch: Batch, recipe: Recipe) -> list[tuple[float, Batch]]:
        """Return a batch on the device in the parts in which its gradient is computed, `recipe.accumulate` of them or
        as many more as its memory asks for, each with its share of the samples. They may be less filled up."""

    def other(self, batch: Any, inputs: Inputs) -> Any:
        """Return a batch, as `ready` made it, in other shapes, as other neighbours would give it; None without such."""

    def whole(self, batch: Any, inputs: Inputs) -> Any:
        """Return a batch at its largest sizes, filled up so that no answer changes: for what takes these alone."""

    def conversion(self, given: Inputs, wanted: Inputs) -> Callable[[Any], Any]:
        """Return what makes of the inputs of one model those of another, or raise JobError where that cannot be."""

    def mixing(self, outputs: int, seed: int) -> Callable[[Batch, int], Batch] | None:
        """Return what mixes a batch with itself at a step, where `--augment strong` does so; else None."""

    # ---- packages ----

    def examples(self, inputs: Inputs) -> Mapping[str, Tensor]:
        """Return a few inputs that are drawn, not anybody's data, by name: what a self-test stores."""

    def is_example(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor of a stored self-test may be an example."""

    def of_example(self, inputs: Inputs, example: Tensor) -> Any:
        """Return an example as the model's input, without the dimension of the batch."""

    def reader(self, inputs: Inputs) -> Callable[[Path | BytesIO], Any]:
        """Return what makes of a file the model's input, without the dimension of the batch, or raises DataError."""

    def frame(self, inputs: Inputs, source: Path | BytesIO) -> Any:
        """Return where a file lies in what `reader` makes of it, as a task's `placed` takes it, or raise DataError."""

    def drawing(self) -> Drawing | None:
        """Return what draws on these files; None where they are no pictures."""

    def contact(self, shelves: Iterable[Shelf]) -> bytes | None:
        """Return a PNG of files side by side, shelf by shelf; None where they are no pictures."""

    def shown(self, source: Path | BytesIO, inputs: Inputs, marks: Marks = NO_MARKS) -> bytes | str:
        """Return a file as a report shows it: a small picture with what is marked on it, JPEG; or its text."""

    def view_shown(self, view: Any, inputs: Inputs, marks: Marks = NO_MARKS) -> bytes | str:
        """Return the same of an item of `views`, without its target."""

    def together(self, its: Sequence[Any], inputs: Inputs) -> Any:
        """Return inputs, as `reader` makes them, as a batch."""

    def transform(self, inputs: Inputs) -> Callable[[Any], Any] | nn.Module:
        """Return what a loaded model carries as `preprocess`: of library classes alone, to be pickled."""

    # ---- cards ----

    dataset: ClassVar[str]
    """By what type the Hugging Face Hub knows data of this kind, whatever it lies in."""
    becomes: ClassVar[str]
    """The sentence in front of `lines`."""
    call: ClassVar[tuple[str, ...]]
    """Lines of Python that make `logits`, with `model` as hubft loads it, behind `lines`."""

    def example(self, inputs: Inputs) -> str:
        """Return what a card's command asks about."""

    def piped(self, inputs: Inputs) -> Any:
        """Return what a pipeline of the library transformers is asked about, JSON types."""

    def lines(self, inputs: Inputs) -> Iterator[str]:
        """Yield the lines of Python by which a card makes of a sample what `call` takes."""


def named(kind: str) -> Modality:
    """Return the modality of a kind of inputs.

    :raises FamilyError: there is no such kind.
    """
    if kind not in KINDS:
        raise FamilyError(f"there is no kind of inputs {kind!r}: known are {', '.join(KINDS)}")
    found: Modality = importlib.import_module(KINDS[kind]).MODALITY
    return found


def of(inputs: Inputs) -> Modality:
    """Return the modality of what a model takes."""
    return named(inputs.kind)
