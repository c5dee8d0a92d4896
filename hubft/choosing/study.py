"""Which points of a sweep were tried, and which is next: a study of Optuna in an SQLite file.

Any number of processes may join one study. What must not happen twice is done under a lock of its folder, and whoever
trains a trial holds the lock of that: where it is free, the process died, and the trial is gone on with. Not in a
journal of Optuna: its file cannot be read any more after a process died within a line.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.trial import TrialState

from hubft.base.files import marked
from hubft.base.keys import key
from hubft.choosing.space import Axis, Space
from hubft.choosing.trial import Done, GivenUp, Told
from hubft.tasks.metrics import Measured

FILE, TRIALS = "study.db", "trials"
DRAWS = 20  # of a point, until it is one that was not tried
STARTUP = 5  # trials that come to their end before one is given up
EARLIEST = 2  # epoch after which one may be given up
PATIENCE = 60.0  # seconds in which another process lets go of the file


@dataclass(frozen=True)
class Taken:
    """A trial that this process trains: no other has it."""

    trial: optuna.trial.Trial
    point: dict[str, Any]
    """What was drawn of each axis, by name."""
    lock: FileLock
    resumed: bool
    """Whether a process that died had it before."""

    @property
    def number(self) -> int:
        return int(self.trial.number)


@dataclass(frozen=True)
class Seen:
    """A trial as the study has it."""

    number: int
    point: dict[str, Any]
    state: Literal["running", "complete", "given up", "failed"]


STATES: Any = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "given up", TrialState.FAIL: "failed"}


class Study:
    """The study of a folder; it is made where there is none."""

    def __init__(self, folder: Path, space: Space, seed: int, better: Literal["higher", "lower"]) -> None:
        """:param seed: from which, and a trial's number, its point is drawn.
        :param better: which headlines are."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.space, self.seed = folder, space, seed
        self.direction = "maximize" if better == "higher" else "minimize"
        self.axes = {axis.name: _distribution(axis) for axis in space}
        self.lock = FileLock(marked(folder) / "study.lock")
        with self.lock:
            self.storage = optuna.storages.RDBStorage(
                f"sqlite:///{folder / FILE}", engine_kwargs={"connect_args": {"timeout": PATIENCE}}
            )
            pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=EARLIEST)
            self.study = optuna.create_study(
                storage=self.storage, study_name="sweep", direction=self.direction, pruner=pruner, load_if_exists=True
            )

    def close(self) -> None:
        """Let go of the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def place(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.folder / TRIALS / f"{number:04d}"

    def seen(self) -> list[Seen]:
        """Return the trials so far, in order."""
        return [Seen(one.number, one.params, STATES.get(one.state, "running")) for one in self._all()]

    def take(self, trials: int) -> Taken | None:
        """Return a trial for this process: one that a process left when it died, or one of a new point.

        None where there are `trials` already, or where every point there is was tried.
        """
        with self.lock:
            for one in self._all():
                if one.state == TrialState.RUNNING and (lock := self._locked(one.number)):
                    return self._taken(optuna.trial.Trial(self.study, one._trial_id), lock, resumed=True)
            waiting = any(one.state == TrialState.WAITING for one in self._all())  # a process died before it asked
            number = len(self._all())
            if not waiting:
                point = self._drawn(number) if number < trials else None
                if point is None:
                    return None
                self.study.enqueue_trial(point)
            trial = self.study.ask()
            lock = self._locked(trial.number)
            assert lock, "nobody else can know of it"
            return self._taken(trial, lock, resumed=False)

    def tell(self, taken: Taken, done: Done) -> None:
        """Write down what became of a trial."""
        with self.lock:
            if done.score:
                self.study.tell(taken.trial, done.score.value)
            else:
                self.study.tell(taken.trial, state=TrialState.FAIL if done.refused else TrialState.PRUNED)

    def elsewhere(self) -> int:
        """Return how many trials other processes are at."""
        return sum(1 for one in self.seen() if one.state == "running" and not self._free(one.number))

    def _free(self, number: int) -> bool:
        if lock := self._locked(number):
            lock.release()
        return bool(lock)

    def watch(self, taken: Taken, epochs: int) -> Told:
        """Return what hears of each epoch of a trial, and gives it up where it is worse than half of those before it.

        :param epochs: of the trial; after the last it is over anyway.
        """

        def told(epoch: int, headline: Measured) -> None:
            known = self.study.get_trials(deepcopy=False)[taken.number].intermediate_values
            if epoch not in known:  # an epoch is done again where a process died before its checkpoint
                taken.trial.report(headline.value, epoch)
            if epoch < epochs and taken.trial.should_prune():
                raise GivenUp(f"given up after epoch {epoch}: behind the median of those that came to their end")

        return told

    def importance(self) -> dict[str, float]:
        """Return how much of the differences between trials each axis explains, shares of 1, the largest first.

        PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255); nothing of fewer than two trials.
        """
        values = [one.value for one in self._all() if one.state == TrialState.COMPLETE]
        if len(set(values)) < 2:
            return {}
        found = optuna.importance.get_param_importances(self.study, params=list(self.axes))
        return {name: float(share) for name, share in found.items()}

    def _all(self) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False)
        return found

    def _locked(self, number: int) -> FileLock | None:
        lock = FileLock(marked(self.place(number)) / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _taken(self, trial: optuna.trial.Trial, lock: FileLock, resumed: bool) -> Taken:
        point = {name: _suggested(trial, name, distribution) for name, distribution in self.axes.items()}
        return Taken(trial, point, lock, resumed)

    def _drawn(self, number: int) -> dict[str, Any] | None:
        """Return a point that was not tried, drawn from the seed, the trial's number and what was tried; None where
        there is none.

        Drawn in a copy of the study, so that what is drawn again leaves no trace. A sampler goes on from its seed: one
        that is made anew by a process that goes on would draw its first points a second time.
        """
        sampler = optuna.samplers.TPESampler(seed=key("sweep", self.seed, number) % 2**32)
        copy = optuna.create_study(direction=self.direction, sampler=sampler)
        copy.add_trials(self._all())
        tried = [self._values(one.params) for one in self._all()]
        for _ in range(DRAWS):
            trial = copy.ask(self.axes)
            if self._values(trial.params) not in tried:
                return dict(trial.params)
            copy.tell(trial, state=TrialState.FAIL)
        return next((point for point in self._points(number) if self._values(point) not in tried), None)

    def _values(self, point: dict[str, Any]) -> list[Any]:
        return [axis.value(point[axis.name]) for axis in self.space if axis.name in point]

    def _points(self, number: int) -> Iterator[dict[str, Any]]:
        """Yield every point there is, in a drawn order of each axis; none where there is no end of them."""
        shuffled: list[list[Any]] = []
        for axis in self.space:
            if axis.points is None:
                return
            values = list(axis.points)
            random.Random(key("points", self.seed, number)).shuffle(values)
            shuffled.append(values)
        for point in itertools.product(*shuffled):
            yield dict(zip(self.axes, point, strict=True))


def _distribution(axis: Axis) -> Any:
    if axis.texts:
        return optuna.distributions.CategoricalDistribution(axis.texts)
    if axis.whole:
        return optuna.distributions.IntDistribution(axis.low, axis.high, log=axis.by_tenfold)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.by_tenfold)


def _suggested(trial: optuna.trial.Trial, name: str, distribution: Any) -> Any:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution, optuna.distributions.IntDistribution) else None
    suggest = suggest or trial.suggest_float
    return suggest(name, distribution.low, distribution.high, log=distribution.log)


@contextmanager
def joined(folder: Path, space: Space, seed: int, better: Literal["higher", "lower"]) -> Iterator[Study]:
    """Give the study of a folder for the time of a `with`."""
    study = Study(folder, space, seed, better)
    try:
        yield study
    finally:
        study.close()
