"""A model that answers, whatever it was opened from: what evaluation and prediction take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pluggy

from hubft.families import plugins
from hubft.hookspecs import Loaded
from hubft.publish.manifest import Manifest


@dataclass(frozen=True)
class Opened:
    """A model with what it states of itself: of a package, or of a file that was exported from one."""

    manifest: Manifest
    load: Callable[[], Loaded]
    """Gives the model. It is called when the model is needed: data that cannot be read is told before."""
    family: str = ""
    """Whose hook `train_step` evaluates it; without one, the core's does."""

    @cached_property
    def loaded(self) -> Loaded:
        """The model, loaded once."""
        return self.load()

    def hooks(self) -> pluggy.PluginManager:
        """Return a fresh manager of its hooks."""
        return plugins.manager(self.family) if self.family else plugins.core()


@dataclass(frozen=True)
class Answer:
    """What a package says of one image."""

    image: str
    said: Mapping[str, Any]
    """As `Task.decode` gives it; empty where there is an error."""
    error: str = ""
    """Why there is no answer: the file cannot be read, or the model gives no numbers for it."""
