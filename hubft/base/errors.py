"""What can go wrong, as one tree.

HubftError                 everything that a user can mend; the command line prints it in one line, exit code 2
├── JobError               an option or a reference that no run can be made of
├── FamilyError            a family that is unknown, broken, clashing, or that broke its contract
├── DataError              a folder of images that cannot be trained on
├── TrainingError          a run that must not go on: a frozen tensor that moved
│   ├── NotFinite          a step whose loss or gradient is not finite
│   └── Diverged           a training that left a model that is worse than none: no package is made, exit code 1
├── CheckpointError        a run that cannot be resumed
├── HubError               a Hub that refuses, that cannot be reached, or that holds something else
├── WriteError             a disk that is full, or a folder that cannot be written
├── ExportError            a file that cannot be run, or that is not as good as its package
│   └── Unconvertible      a model that a format cannot hold
└── PackageError           a package that is incomplete, altered, or that does not fit its model
    ├── DamagedPackage     a package of which a file is missing, cut or altered
    └── BaseMismatch       a delta whose base has other bytes here

Anything else is a fault of hubft or of a library and shows its traceback.
"""

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class Option(str):
    """An option of a run, named in a message by its field: `batch_size`."""

    __slots__ = ()

    @property
    def flag(self) -> str:
        """As it is typed: `--batch-size`."""
        return "--" + self.replace("_", "-")


class HubftError(Exception):
    """A failure that the user can mend: says what it got, what it knows, and what to type next.

    Its arguments are the parts of the message, in order. Those that are an `Option` read as the field's name in
    Python, and as the flag on the command line.
    """

    def __str__(self) -> str:
        return "".join(map(str, self.args))

    def typed(self) -> str:
        """Return the message for the command line."""
        return "".join(part.flag if isinstance(part, Option) else str(part) for part in self.args)


class JobError(HubftError):
    """An option or a reference that no run can be made of."""


class FamilyError(HubftError):
    """A family that is unknown, broken, clashing, or that broke its contract."""


class DataError(HubftError):
    """A folder of images that cannot be trained on."""


class TrainingError(HubftError):
    """A run that must not go on."""


class NotFinite(TrainingError):
    """A step whose loss or gradient is not finite."""

    def __init__(self, step: int, loss: float, *more: str | Option) -> None:
        """:param more: what is known of it, and what to try."""
        cure = (
            ": lower ",
            Option("lr"),
            ", or compute in ",
            Option("precision"),
            " fp32; no checkpoint was written since",
        )
        super().__init__(f"the loss of step {step} is {loss}", *(more or cure))
        self.step, self.loss = step, loss


class Diverged(TrainingError):
    """A training that left a model that is worse than none: the run is there, and no package of it."""


class CheckpointError(HubftError):
    """A run that cannot be resumed."""


class HubError(HubftError):
    """A Hub that refuses, that cannot be reached, or that holds something else."""


class WriteError(HubftError):
    """A disk that is full, or a folder that cannot be written."""


class ExportError(HubftError):
    """A file that cannot be run, or that is not as good as its package."""


class Unconvertible(ExportError):
    """A model that a format cannot hold."""


class PackageError(HubftError):
    """A package that is incomplete, altered, or that does not fit its model."""


class DamagedPackage(PackageError):
    """A package of which a file is missing, cut or altered."""


class BaseMismatch(PackageError):
    """A delta whose base has other bytes here."""


class Stopped(Exception):
    """A run that was asked to stop and wrote a checkpoint: no error, but no result either."""

    def __init__(self, signal: int, run: str, again: str = "") -> None:
        """:param again: how to go on, where that is not to resume the run."""
        super().__init__(f"stopped by signal {signal}; {again or f'go on with: hubft finetune --resume {run}'}")
        self.signal = signal


class Silent(Exception):
    """The end of a process whose run another process ended, which says why."""

    def __init__(self, code: int = 1) -> None:
        super().__init__()
        self.code = code


class Incomplete(Exception):
    """A command that did its work but for a part, which it named as it went: exit code 1."""


NEAR = 0.75
"""Share of the letters that a word and its hint must have in common, in order: a slip of the hand leaves as many, also
in words of four letters (bf61, timn). Below it hints mislead more often than they help."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known word, or nothing where none is near.

    The dashes in front of an option are no letters.
    """
    bare = {name.lstrip("-"): name for name in known}
    near = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=NEAR)
    return f" Did you mean {bare[near[0]]!r}?" if near else ""


def reason(error: BaseException) -> str:
    """Return a foreign error as one line that is never empty: its kind and text, or the line of code that failed."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    if text:
        return f"{kind}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return kind
    return f"{kind} at line {frames[-1].lineno} of {Path(frames[-1].filename).name}: {frames[-1].line}"
