"""The trackers by name, and whether their libraries are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError, Option
from hubft.job import Tracker
from hubft.tracking import mlflow, tensorboard, trackio, wandb
from hubft.tracking.tracker import Kind

TRACKERS: Mapping[Tracker, Kind] = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow, "trackio": trackio}


def require(names: Sequence[Tracker]) -> None:
    """Check that the libraries of trackers are there, without importing them.

    :raises JobError: one is not; says how to get it.
    """
    for name in names:
        if lacking := [module for module in TRACKERS[name].LIBRARIES if not _there(module)]:
            raise JobError(Option("track"), f" {name} {missing(' and '.join(lacking), installs(name))}")


def _there(module: str) -> bool:
    found = find_spec(module)
    return bool(found and found.origin)  # without one it is a folder of that name, such as a tracker leaves behind
