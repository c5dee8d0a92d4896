"""MLflow: the server of MLFLOW_TRACKING_URI, else a SQLite file in the run's folder; by its light client."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from hubft.tracking.tracker import PROJECT, Begin, Row, State

LIBRARIES = ("mlflow", "sqlalchemy", "alembic")
STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
PARAMETERS, METRICS = 100, 1000  # that the client takes in one request
LONGEST = 6000  # characters of a parameter's value


class MLflow:
    at_once, note = True, ""

    def __init__(self, begin: Begin) -> None:
        for name, value in (("TIMEOUT", "6"), ("MAX_RETRIES", "1")):  # what fails is tried again here
            os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        self.entities = entities
        own = f"sqlite:///{begin.folder.resolve() / 'mlflow.db'}"
        uri = os.environ.get("MLFLOW_TRACKING_URI") or own
        self.client = MlflowClient(uri)
        if begin.known:
            self.client.update_run(begin.known, status="RUNNING")
            experiment, self.known = self.client.get_run(begin.known).info.experiment_id, begin.known
        else:
            experiment = self._experiment(str(begin.folder.resolve() / "artifacts") if uri == own else None)
            self.known = self.client.create_run(experiment, run_name=begin.name).info.run_id
            its = [entities.Param(name, str(value)[:LONGEST]) for name, value in begin.config.items()]
            for first in range(0, len(its), PARAMETERS):
                self.client.log_batch(self.known, params=its[first : first + PARAMETERS])
        here = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
        there = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.known}"
        self.where = there if uri.startswith("http") else here

    def _experiment(self, artifacts: str | None) -> str:
        if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return named
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self.client.create_experiment(name, artifacts))

    def values(self, rows: Sequence[Row]) -> None:
        now = int(time.time() * 1000)
        its = [self.entities.Metric(name, value, now, step) for step, values in rows for name, value in values.items()]
        for first in range(0, len(its), METRICS):
            self.client.log_batch(self.known, metrics=its[first : first + METRICS])

    def picture(self, name: str, path: Path, step: int) -> None:
        self.client.log_artifact(self.known, str(path), "pictures")

    def report(self, path: Path) -> None:
        self.client.log_artifact(self.known, str(path), "report")

    def package(self, manifest: Path, sha256: str) -> None:
        self.client.log_artifact(self.known, str(manifest), "package")
        self.client.set_tag(self.known, "package.sha256", sha256)

    def end(self, state: State) -> None:
        self.client.set_terminated(self.known, STATES[state])


def opened(begin: Begin) -> MLflow:
    """Return the run in MLflow."""
    return MLflow(begin)
