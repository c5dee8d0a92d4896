"""What can go wrong, as one tree.

HubftError                 everything that a user can mend; the command line prints it in one line, exit code 2
├── JobError               an option or a reference that no run can be made of
├── FamilyError            a family that is unknown, broken, clashing, or that broke its contract
├── DataError              a folder of images that cannot be trained on
├── TrainingError          a run that must not go on: a loss that is not finite, a frozen tensor that moved
│   └── Diverged           a training that left a model that is worse than none: no package is made, exit code 1
├── CheckpointError        a run that cannot be resumed
├── HubError               a Hub that refuses, that cannot be reached, or that holds something else
├── WriteError             a disk that is full, or a folder that cannot be written
└── PackageError           a package that is incomplete, altered, or that does not fit its model
    ├── DamagedPackage     a package of which a file is missing, cut or altered
    └── BaseMismatch       a delta whose base has other bytes here

Anything else is a fault of hubft or of a library and shows its traceback.
"""

import difflib
from collections.abc import Iterable


class HubftError(Exception):
    """A failure that the user can mend: says what it got, what it knows, and what to type next."""


class JobError(HubftError):
    """An option or a reference that no run can be made of."""


class FamilyError(HubftError):
    """A family that is unknown, broken, clashing, or that broke its contract."""


class DataError(HubftError):
    """A folder of images that cannot be trained on."""


class TrainingError(HubftError):
    """A run that must not go on."""


class Diverged(TrainingError):
    """A training that left a model that is worse than none: the run is there, and no package of it."""


class CheckpointError(HubftError):
    """A run that cannot be resumed."""


class HubError(HubftError):
    """A Hub that refuses, that cannot be reached, or that holds something else."""


class WriteError(HubftError):
    """A disk that is full, or a folder that cannot be written."""


class PackageError(HubftError):
    """A package that is incomplete, altered, or that does not fit its model."""


class DamagedPackage(PackageError):
    """A package of which a file is missing, cut or altered."""


class BaseMismatch(PackageError):
    """A delta whose base has other bytes here."""


class Stopped(Exception):
    """A run that was asked to stop and wrote a checkpoint: no error, but no result either."""

    def __init__(self, signal: int, run: str) -> None:
        super().__init__(f"stopped by signal {signal}; go on with: hubft finetune --resume {run}")
        self.signal = signal


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
