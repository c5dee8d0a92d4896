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

from hubft.base.errors import FamilyError
from hubft.data.asked import Asked
from hubft.data.rows import Row, Source
from hubft.data.split import Content
from hubft.inputs import Inputs
from hubft.job import Job
from hubft.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hubft.base.store import Scratch
    from hubft.hookspecs import Batch, Loaded
    from hubft.job import Recipe
    from hubft.machine.runtime import Runtime

KINDS = {
    "images": "hubft.images.modality",
    "text": "hubft.text.modality",
    "documents": "hubft.text.language",
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

    def collate(self, items: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Return items as a batch."""

    def keep(self, view: int) -> None:
        """Keep what this view is made from, once it was read; before there are other processes."""


class Modality(Protocol):
    """What the core asks of a kind of inputs. Its torch is imported when something is computed."""

    kind: ClassVar[str]
    takes: ClassVar[type[Inputs]]
    """What a model of this kind takes, as plain data."""
    word: ClassVar[str]
    """What a sample is called, one of them, in messages and in a self-test: `image`."""
    one: ClassVar[str]
    """The same with its article."""
    equal: ClassVar[str]
    """What equal samples have in common, in messages: `pixels`."""

    # ---- data; without torch ----

    def settled(self, job: Job) -> Job:
        """Return a job with nothing left to choose in what there is no choice in, for these inputs.

        :raises JobError: it asks for what has no meaning for them.
        """

    def asked(self, given: str | Path | Iterable[str | Path], column: str) -> Asked:
        """Return what a model is asked about, as it was named on the command line or in Python.

        :param column: of tables, that with the inputs; found, where it is empty.
        :raises DataError: there is nothing to be asked about.
        """

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any]) -> Sequence[Any]:
        """Return of each row its `Sample`, or as a text why it is none.

        :param targets: of the rows, encoded.
        """

    def notes(self, samples: Sequence[Any]) -> Iterable[str]:
        """Yield what a user should know of these inputs, whatever their labels say."""

    # ---- what the model takes ----

    def fitted(self, inputs: Inputs, samples: Sequence[Any], job: Job) -> Inputs:
        """Return what a model takes, with what the job and the training samples say of it."""

    def remarks(self, training: Views) -> Iterable[str]:
        """Yield lines on how the training samples are taken."""

    def check(self, loaded: Loaded, job: Job) -> None:
        """Check that a model can use the inputs that were asked for.

        :raises JobError: it cannot; names what it could use.
        """

    def blank(self, inputs: Inputs, number: int) -> Any:
        """Return so many inputs of zeros, as the model takes them."""

    # ---- batches ----

    def views(
        self,
        source: Source,
        task: Task,
        samples: Sequence[Any],
        inputs: Inputs,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Views:
        """Return samples as a model that takes `inputs` shall see them.

        :param recipe: whose augmentation is used; without one, there is none.
        :param scratch: where they are kept once they are read; without one, each is read every time.
        """

    def ready(self, inputs: Inputs, runtime: Runtime) -> Callable[[Any], Any]:
        """Return what makes a collated batch of views the model's inputs, on its device."""

    def other(self, batch: Any, inputs: Inputs) -> Any:
        """Return a batch on the device, as `ready` made it, in another form in which the same samples may come: of
        other shapes, as other neighbours would give it. None where there is no other."""

    def conversion(self, given: Inputs, wanted: Inputs) -> Callable[[Any], Any]:
        """Return what makes of the inputs of one model those of another: the same pictures, as that takes them.

        :raises JobError: that cannot be.
        """

    def mixing(self, outputs: int, seed: int) -> Callable[[Batch, int], Batch] | None:
        """Return what mixes a batch with itself at a step, where `--augment strong` does so; else None."""

    # ---- packages ----

    def examples(self, inputs: Inputs) -> Mapping[str, Tensor]:
        """Return a few inputs that are drawn, not anybody's data, by name: what a self-test stores."""

    def is_example(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor of a stored self-test may be an example."""

    def of_example(self, inputs: Inputs, example: Tensor) -> Any:
        """Return an example as the model's input, a batch of one."""

    def reader(self, inputs: Inputs) -> Callable[[Path | BytesIO], Any]:
        """Return what makes of a file the model's input, without the dimension of the batch.

        It raises DataError where the file is no such input.
        """

    def together(self, its: Sequence[Any], inputs: Inputs) -> Any:
        """Return inputs, as `reader` makes them, as a batch."""

    def transform(self, inputs: Inputs) -> Callable[[Any], Any] | nn.Module:
        """Return what a loaded model carries as `preprocess`: of library classes alone, to be pickled."""

    # ---- cards ----

    example: ClassVar[str]
    """What a card's command asks about."""
    dataset: ClassVar[str]
    """By what type the Hugging Face Hub knows data of this kind, whatever it lies in."""
    becomes: ClassVar[str]
    """The sentence in front of `lines`."""
    call: ClassVar[tuple[str, ...]]
    """Lines of Python that make `logits`, with `model` as hubft loads it, behind `lines`."""

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
