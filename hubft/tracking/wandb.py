"""Weights & Biases: online where a key is known and the server answers, else offline in the run's folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from hubft.tracking.logged import Logged
from hubft.tracking.redaction import line
from hubft.tracking.tracker import PROJECT, Begin, State

LIBRARIES = ("wandb",)
PATIENCE = 8.0  # seconds for the server to answer when a run begins


class WandB(Logged):
    def __init__(self, begin: Begin) -> None:
        # Files wait there for `wandb sync`: in the run's folder, not in the user's home.
        os.environ.setdefault("WANDB_DATA_DIR", str(begin.folder.resolve()))
        import wandb

        self.library, self.note = wandb, ""
        self.known = begin.known or os.environ.get("WANDB_RUN_ID") or begin.token
        self.folder = Path(os.environ.get("WANDB_DIR") or begin.folder.parent)
        try:
            self.run = self._begun(begin, os.environ.get("WANDB_MODE"))
        except Exception as error:  # no key, a wrong one, no server: nothing is lost offline
            self.note = f"offline: {line(error)}"
            wandb.teardown()  # what it began holds the id
            self.run = self._begun(begin, "offline")
        synced = f"wandb sync {shlex.quote(str(self.folder / 'wandb'))}/offline-run-*-{self.known}"
        self.where = synced if self.run.offline else str(self.run.url or "")

    def _begun(self, begin: Begin, mode: Any) -> Any:
        """Return the run: of the machine and the code around it only what the config holds is sent."""
        quiet: dict[str, Any] = {"console": "off", "silent": True, "save_code": False, "x_save_requirements": False}
        private = dict.fromkeys(("x_disable_stats", "x_disable_meta", "disable_git", "disable_code"), True)
        settings = self.library.Settings(**quiet, **private)
        if "WANDB_INIT_TIMEOUT" not in os.environ:
            settings.init_timeout = PATIENCE
        return self.library.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=os.environ.get("WANDB_NAME") or begin.name,
            id=self.known,
            resume="allow",
            dir=self.folder,
            config=dict(begin.config),
            allow_val_change=True,
            mode=mode,
            settings=settings,
        )

    def package(self, manifest: Path, sha256: str) -> None:
        self.run.summary["package.sha256"] = sha256
        super().package(manifest, sha256)

    def end(self, state: State) -> None:
        self.run.finish(exit_code=int(state != "finished"))


def opened(begin: Begin) -> WandB:
    """Return the run in Weights & Biases."""
    return WandB(begin)
