"""The Ray cluster in whose processes a sweep has its models trained (`--on ray`): the recipe as it is and the best, one
call each, and the trials between them, as many at once as its cores and GPUs allow (`tuned.py`)."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from hubft.base.errors import HubftError, JobError, Option, Stopped
from hubft.choosing.asked import AGAIN
from hubft.choosing.tuned import AGAINS, Judge, Points, by_number, tried
from hubft.job import Compute, Job
from hubft.run.folder import StopRequest

if TYPE_CHECKING:
    from hubft.choosing.study import Study
    from hubft.choosing.sweep import Sweep

ADDRESS = "RAY_ADDRESS"
OWN = "ray"  # folder of what Ray Tune writes while it is at it
LOOKS = 0.5  # seconds between two looks at whether to stop
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # tell nobody
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table even where it shall be silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",  # a process is used again once the trial that was given up has ended
}


class Cluster:
    """The Ray cluster of a sweep."""

    def __init__(self, folder: Path, job: Job, request: StopRequest) -> None:
        self.folder, self.request = folder.resolve(), request
        nodes = [one["Resources"] for one in ray.nodes() if one["Alive"]]
        self.largest = max((int(one.get("CPU", 0)) for one in nodes), default=0)
        self.gpus = job.compute.device != "cpu" and any(one.get("GPU", 0) >= 1 for one in nodes)
        self.compute = replace(job.compute, threads=job.compute.threads or 1)
        """Of the recipe as it is: a core for a trial, unless more are asked for."""

    def needs(self, compute: Compute) -> dict[str, int]:
        """Return what a process takes of its node: cores for its threads and for those that decode, at most all that a
        node has, and a GPU where there are any."""
        cores = (compute.threads or 1) + max(0, compute.workers)
        return {"cpu": min(cores, self.largest or cores), "gpu": int(self.gpus)}

    def call(self, compute: Compute, function: Callable[..., Any], *given: Any) -> Any:
        """Return what a function returns, called in a process of the cluster.

        :param compute: how it computes.
        :raises HubftError: as the function.
        :raises Stopped: SIGTERM or Ctrl-C.
        """
        its = self.needs(compute)
        remote = ray.remote(num_cpus=its["cpu"], num_gpus=its["gpu"], max_retries=AGAINS)(_called)
        answer = remote.remote(str(Path.cwd()), function, *given)
        while not ray.wait([answer], timeout=LOOKS)[0]:
            if self.request.signal:
                ray.cancel(answer, force=True)
                raise Stopped(self.request.signal, str(self.folder), AGAIN)
        with _died():
            found = ray.get(answer)
        if isinstance(found, _Refused):
            raise found.kind.__new__(found.kind, *found.said)
        return found

    def go(self, sweep: Sweep, study: Study, base: Job, trials: int, count: Callable[[], object]) -> None:
        """Go through the trials of a sweep that are left.

        :param base: their job, but for the options that they try.
        :param trials: how many there are to be in the end.
        :param count: called after each.
        :raises HubftError: a trial whose process died again and again.
        :raises Stopped: SIGTERM or Ctrl-C.
        """
        given = {"base": base, "space": sweep.space, "held": sweep.held, "trust": sweep.trust, "here": str(Path.cwd())}
        for _ in range(1 + AGAINS):
            points = Points(sweep, study, base, trials, count, self.request)
            self._tune(points, tune.with_parameters(tried, **given), self.needs(base.compute))
            if self.request.signal:
                raise Stopped(self.request.signal, str(self.folder), AGAIN)
            if points.broken:
                raise points.broken
            if not points.at:
                return
            # Ray Tune drops a trial without a word if the process that it gives it has not done with the one before
        raise HubftError(f"trials came to no end in {self.folder}: see the logs of Ray; then type the same line again")

    def _tune(self, points: Points, function: Any, needs: dict[str, int]) -> None:
        """Have Ray Tune call a function in a process for each trial."""
        own = self.folder / OWN
        try:
            tune.run(
                function, name="sweep", storage_path=str(own), search_alg=points, stop=Judge(points), num_samples=-1,
                resources_per_trial=needs, max_failures=AGAINS, reuse_actors=True, raise_on_failed_trial=False,
                trial_dirname_creator=by_number, verbose=0,
            )  # fmt: skip
        finally:
            for task in points.at.values():
                task.taken.lock.release()
            shutil.rmtree(own, ignore_errors=True)


@dataclass(frozen=True)
class _Refused:
    """An error as it travels between processes: made anew by its parts, some would say them twice."""

    kind: type[HubftError]
    said: tuple[Any, ...]


def _called(here: str, function: Callable[..., Any], *given: Any) -> Any:  # in a process of the cluster
    """Return what a function returns, or the error that it raises: as it is, Ray would put its traceback into it."""
    os.chdir(here)
    try:
        return function(*given)
    except HubftError as error:
        return _Refused(type(error), error.args)


@contextmanager
def _died() -> Iterator[None]:
    """Turn what Ray says of a process that died into an error of ours."""
    try:
        yield
    except ray.exceptions.RayTaskError:
        raise  # a fault, with its traceback
    except ray.exceptions.RayError as error:
        line = str(error).strip().splitlines()[0]
        raise HubftError(f"a process of the Ray cluster died: {line}; type the same line again") from error


@contextmanager
def joined(folder: Path, job: Job) -> Iterator[Cluster]:
    """Give the cluster of RAY_ADDRESS, or one of this machine that is started and ended with it.

    A Ray that this process joined before is used, and left as it is.

    :raises HubftError: there is none at that address, or none can be started.
    """
    address = os.environ.get(ADDRESS, "")
    if "://" in address:
        raise HubftError(f"{ADDRESS}={address}: type the line on a node of the cluster, with its address HOST:PORT")
    if re.fullmatch(r"(cuda|mps):\d+", job.compute.device):
        why = f" {job.compute.device}: write cuda, for Ray gives each trial a device of its own"
        raise JobError(Option("device"), why)
    mine = not ray.is_initialized()
    before = {name: os.environ.get(name) for name in QUIET}
    level = logging.getLogger("ray").level
    os.environ.update(QUIET)
    try:
        if mine:
            _init(address)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        with StopRequest() as request:
            yield Cluster(folder, job, request)
    finally:
        if mine:
            ray.shutdown()
        logging.getLogger("ray").setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _init(address: str) -> None:
    """Join the cluster of an address, or start one."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # Ray took it
    except Exception as error:  # Ray raises that itself
        where = f"at {ADDRESS}={address}" if address else "that can be started here"
        said = str(error).strip().splitlines()[0]
        raise HubftError(f"there is no Ray cluster {where}: {said}") from error
