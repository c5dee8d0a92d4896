"""What a task is: what labels mean, as plain data, and what follows from that."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from hubft.base.errors import JobError, Option
from hubft.tasks.answers import Answers
from hubft.tasks.columns import Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from hubft.job import Labels, Recipe
    from hubft.tasks.losses import Loss
    from hubft.tasks.metrics import Metrics, Statistic

__all__ = ["Column", "Table", "Task", "fits"]


def fits(task: Task, shape: Sequence[int]) -> bool:
    """Tell whether what a model gives for a sample has the shape that a task reads."""
    return len(shape) == len(task.shape) and all(ours in (-1, its) for ours, its in zip(task.shape, shape, strict=True))


class Task(Answers, Protocol):
    """What labels mean: a frozen dataclass of JSON types, which a package states as its `task`.

    What computes imports torch when it is called: data is read, and refused, before torch is imported.
    """

    kind: ClassVar[str]
    pipeline: ClassVar[str] = "{word}-classification"
    """`pipeline_tag` of the Hugging Face Hub, with `{word}` for what a sample is called: `image`."""
    problem: ClassVar[str | None] = None
    """`problem_type` of a transformers config.json; empty where transformers has no model of such outputs."""
    headline: ClassVar[str]
    """Name of the one number by which models are compared."""
    mixes: ClassVar[bool] = False
    """Whether targets may be class probabilities, as Mixup and CutMix make them."""
    word: ClassVar[str] = "label"
    """What one of its names is."""
    caption: ClassVar[str] = "What was reached on held-out samples"
    """Of the picture on the card."""
    losses: ClassVar[tuple[str, ...]] = ()
    """What `--loss` may be, the first by default."""
    options: ClassVar[tuple[str, ...]] = ()
    """Which of `smoothing`, `class_weights` and a teacher's `temperature` have a meaning."""
    located: ClassVar[bool] = False
    """Whether targets and answers say where in a sample something is: then its views move targets along, and answers
    are brought back (`placed`). Such a target is a tuple of (class, x0, y0, x1, y1, ...), in pixels of the sample."""
    uncut: ClassVar[str] = ""
    """Why no features of a frozen part are kept, and no head is solved on them; empty where they are."""
    ranks: ClassVar[bool] = True
    """Whether an answer names the likeliest of its names, of which `--top` are shown."""
    writes: ClassVar[bool] = False
    """Whether a model answers by writing token after token (`hubft.share.writing`), not by its outputs alone."""

    # ---- what it is ----

    @property
    def outputs(self) -> int:
        """How many numbers the head gives; 0 where a model keeps its own head, whatever that gives."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what a model gives for a sample; -1 where any number will do."""
        return (self.outputs,)

    def sized(self, shape: Sequence[int]) -> Self:
        """Return the task of a model that gives this shape for a sample."""
        return self

    @property
    def tunes(self) -> bool:
        """Whether some training rows are held out of training, for `tuned`."""
        return False

    def claim(self) -> str:
        """Return what a model of this task does, as the beginning of a sentence that its names end; with `{one}` for
        `an image` or another sample, and `{many}` for `images`."""
        ...

    def lines(self, names: str = 'model.hubft["classes"]') -> Sequence[str]:
        """Return the lines of Python by which a card makes something of `logits`, `[1, outputs]`.

        :param names: an expression that gives the names of the outputs.
        """
        ...

    def summary(self) -> str:
        """Return what it is in a phrase, after `images`: `of 3 classes`, `with any of 20 labels`."""
        ...

    def like(self, other: Task) -> bool:
        """Tell whether the outputs of a model of another task mean the same, in the same order."""
        return (self.kind, self.names) == (other.kind, other.names)

    # ---- from the data; without torch ----

    @classmethod
    def fit(cls, columns: Sequence[Column], labels: Labels) -> Self:
        """Return the task that these columns state.

        :param columns: of the rows to train and to validate on.
        :param labels: what the user said of them.
        :raises DataError: they cannot be of this task; says why, and what to type.
        """
        ...

    def encode(self, values: Sequence[Any]) -> Any:
        """Return a row's target as plain Python: an int, a tuple of floats, ...; None where it has no label at all.

        :raises DataError: a value that is none of this task; says what is known.
        """
        ...

    def settled(self, targets: Sequence[Any]) -> Self:
        """Return the task with what the training rows tell: how many there are of each class, a mean, a scale.

        :raises DataError: there is nothing to learn from them.
        """
        ...

    def strata(self, target: Any) -> Iterable[Hashable]:
        """Return what a split keeps even: the strata that a sample is of, the rarest first."""
        ...

    def mark(self, target: Any) -> str:
        """Return a target as a text that tells it from all others, for fingerprints."""
        return repr(self.state(target))

    # ---- training ----

    def collate(self, targets: Sequence[Any]) -> Any:
        """Return encoded targets as a tree of tensors with a row for each sample."""
        ...

    def criterion(self, recipe: Recipe | None = None) -> Loss:
        """Return the loss, called as `criterion(outputs, targets)`.

        :param recipe: of training; without one it is the plain loss that evaluation states.
        :raises JobError: an option of the recipe that has no meaning for this task.
        """
        ...

    def imitation(self, temperature: float) -> Loss:
        """Return the loss of a model that shall answer as a teacher does, called as `loss(outputs, answers)`.

        :param temperature: by which logits are divided first; 0 is the task's own.
        :raises JobError: what the task cannot have: a teacher, or a temperature.
        """
        raise JobError(Option("teacher"), f": a model of the kind {self.kind} cannot be distilled; leave it out")

    def answers(self, outputs: Tensor) -> Any:
        """Return a teacher's outputs float32 `[n, outputs]` as `imitation` of a task like this takes them."""
        return outputs

    def ridge(self, targets: Any) -> Tensor | None:
        """Return what a linear head shall give, `[n, outputs]`, NaN where a target is missing, where the plain loss is
        the mean square of what it misses; else None."""
        return None

    def errors(self, outputs: Tensor, targets: Any) -> Tensor:
        """Return how wrong each sample is, float32 `[n]`, from 0, right, to 1, as wrong as knowing nothing."""
        ...

    @property
    def ignorance(self) -> float:
        """The plain loss of a model that knows nothing and says so."""
        ...

    def constant(self) -> float:
        """Return the least mean of `errors` on the training rows that one answer for all of them could have."""
        ...

    # ---- measuring ----

    def kept(self, outputs: Any, targets: Any) -> Any:
        """Return what evaluation keeps of what a model gave for a batch, a row a sample: what `score`, `measure`,
        `errors` and `decode` take as `outputs`.

        It is all of it, unless that is too much to hold for all samples at once. Where samples differ in how much, it
        is a list with a tensor a sample; together they are filled up with `hubft.base.batches.EMPTY`.
        """
        return outputs

    def score(self, outputs: Tensor, targets: Any) -> Metrics:
        """Return loss and headline alone, for an epoch: takes no longer than the pass did.

        :param outputs: float32 `[n, outputs]`, on the CPU.
        :param targets: as `collate` makes them.
        """
        ...

    def statistic(self, outputs: Tensor, targets: Any) -> Statistic | None:
        """Return what gives the headline where samples count so often, where that is quicker than to score them anew;
        else None."""
        return None

    def measure(self, outputs: Tensor, targets: Any) -> Metrics:
        """Return all that can be measured, with intervals."""
        ...

    def further(self, outputs: Tensor, targets: Any) -> Mapping[str, Statistic]:
        """Return by name what gives the other numbers of `measure` in which models are compared beside the headline:
        shares of samples, of which more is better."""
        return {}

    def diagnosis(self, metrics: Metrics, targets: Any) -> Sequence[str]:
        """Return in sentences what looks wrong with the answers: that one answer for all would do as well, that a name
        is never said, that names are exchanged.

        :param metrics: as `measure` gives them.
        :param targets: those that they are of.
        """
        return ()

    def figures(self, metrics: Metrics) -> Mapping[str, Figure]:
        """Return the pictures of a report by the names of their files; the first stands on the card."""
        ...

    def tables(self, metrics: Metrics) -> Iterable[Table]:
        """Return the tables of single classes, labels or columns that `evaluate` and the card show."""
        ...

    # ---- the package ----

    def tuned(self, outputs: Tensor, targets: Any) -> Self:
        """Return the task with what held-out training rows tell, such as thresholds."""
        return self

    def folded(self, weight: Tensor, bias: Tensor) -> Self:
        """Return the task of a model whose outputs are in the user's unit, and make it so.

        :param weight: of the head's last layer, float32 `[outputs, ...]`, changed in place.
        :param bias: of it, `[outputs]`, too.
        """
        return self

    def unfolded(self, weight: Tensor, bias: Tensor) -> Self:
        """Undo `folded`: return the task of a model that is trained further."""
        return self

    def after(self, parent: Task) -> Self:
        """Return the task of a run that goes on with the head of a package.

        :param parent: the task of that package, `unfolded`: of the same kind and the same names.
        """
        return self
