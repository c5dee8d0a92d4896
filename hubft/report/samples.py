"""Samples in a report: those of which a model is most wrong, and a batch as training saw it.

Their pictures lie in the report's folder `samples/`, and nowhere else: a package carries nobody's pictures away.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubft import modality
from hubft.base import batches
from hubft.base.display import visible
from hubft.base.errors import DataError
from hubft.base.files import write_bytes
from hubft.base.marks import NO_MARKS, Marks
from hubft.hookspecs import Loaded
from hubft.inputs import Inputs
from hubft.job import Recipe
from hubft.modality import Modality, Sample
from hubft.report import explained
from hubft.run.data import Data
from hubft.tasks.task import Task

FOLDER = "samples"
WORST, BATCH = 12, 12  # samples that are shown
TEXT = 600  # characters of a text
TOP = 3  # names that are said of a sample


@dataclass(frozen=True)
class Seen:
    """What a report may look at: the data, and what the packaged model made of its validation part."""

    data: Data
    task: Task
    inputs: Inputs
    recipe: Recipe
    outputs: Tensor
    """Of all validation samples."""
    targets: Any
    loaded: Loaded | None = None
    """The model, where it may be asked what it looked at."""

    @property
    def kind(self) -> Modality:
        return modality.named(self.data.kind)


def shown(seen: Seen, folder: Path) -> dict[str, Any]:
    """Return what a page shows of samples, JSON types, and write their pictures into a folder that held older ones.

    :param folder: of the report.
    """
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    chosen = worst(seen)
    album = Album(folder / FOLDER, seen)
    mistakes = [album.mistake(place, number) for number, place in enumerate(chosen)]
    note = explained.explain(seen.loaded, seen, chosen, mistakes, album.keep) if seen.loaded else ""
    return {"mistakes": mistakes, "explained": note, "batch": album.batch(), "augment": seen.recipe.augment}


def worst(seen: Seen) -> list[int]:
    """Return the places of the samples of which a model is most wrong, the worst first: by how wrong it is, then by its
    loss. One of which it is right is none of them."""
    errors = seen.task.errors(seen.outputs, seen.targets)
    order = torch.arange(len(errors))
    if not isinstance(seen.targets, list):  # else a sample is a list of places or tokens, and has no one loss
        order = seen.task.criterion().samples(seen.outputs, seen.targets).argsort(descending=True, stable=True)
    order = order[errors[order].argsort(descending=True, stable=True)]
    return [place for place in order.tolist() if float(errors[place]) > 0][:WORST]


@dataclass(frozen=True)
class Album:
    """Samples as a page shows them, their pictures in a folder."""

    folder: Path
    seen: Seen

    def mistake(self, place: int, number: int) -> dict[str, Any]:
        """Return a validation sample beside what was said of it.

        :param number: in the order in which it is shown.
        """
        seen, sample = self.seen, self.seen.data.val[place]
        row = torch.tensor([place])
        outputs, targets = batches.take((seen.outputs, seen.targets), row)
        (said,) = seen.task.decode(outputs)
        true = seen.task.state(sample.target)
        found = {"place": sample.place, "true": in_words(true), "error": float(seen.task.errors(outputs, targets)[0])}
        if "probability" in said:
            found |= {"confidence": said["probability"], "others": seen.task.words(said, TOP)}
        with suppress(DataError, OSError):  # it was there when the run began
            if seen.task.located:
                said = seen.task.placed(said, seen.kind.frame(seen.inputs, seen.data.source.open(sample.place)))
            found |= self._pictures(f"mistake-{number:02}", sample, true, said)
        return found | {"said": self._told(said)}

    def _told(self, said: Mapping[str, Any]) -> str:
        """Return in a line what was said."""
        if "probability" in said:
            return visible(said["class"], 80)
        return in_words(said) if "boxes" in said else self.seen.task.words(said, TOP)

    def _pictures(self, name: str, sample: Sample, true: Any, said: Any) -> dict[str, Any]:
        """Return how a sample is shown: its text, its picture, or where there are boxes, two with them drawn on it."""
        drawn = self.seen.task.located and "boxes" in said
        sides = {"true": true, "predicted": said} if drawn else {"": {}}
        found = {}
        for side, state in sides.items():
            marks = Marks(state["boxes"], self.seen.task.names) if drawn else NO_MARKS
            opened = self.seen.data.source.open(sample.place)
            found[side] = self.seen.kind.shown(opened, self.seen.inputs, marks)
        return self._kept(name, found)

    def _kept(self, name: str, sides: Mapping[str, bytes | str]) -> dict[str, Any]:
        texts = [its for its in sides.values() if isinstance(its, str)]
        if texts:
            return {"text": texts[0] if len(texts[0]) <= TEXT else texts[0][: TEXT - 1] + "…"}
        return {
            "pictures": [
                {"file": self.keep(f"{name}-{side}" if side else name, its), "what": side}
                for side, its in sides.items()
                if isinstance(its, bytes)
            ]
        }

    def keep(self, name: str, jpeg: bytes) -> str:
        """Return the name of the file that now holds a picture, relative to the report's folder."""
        self.folder.mkdir(exist_ok=True)
        write_bytes(self.folder / f"{name}.jpg", jpeg)
        return f"{FOLDER}/{name}.jpg"

    def batch(self) -> list[dict[str, Any]]:
        """Return training samples as an epoch saw them, in their first augmented view."""
        seen, its = self.seen, self._few()
        views = seen.kind.views(seen.data.source, seen.task, its, seen.inputs, seen.recipe)
        found = []
        for number, sample in enumerate(its):
            with suppress(DataError, OSError):
                view, target = views[1, number]
                true = seen.task.state(target if seen.task.located and seen.kind.drawing() else sample.target)
                marks = Marks(true["boxes"], seen.task.names) if "boxes" in true else NO_MARKS
                picture = self._kept(f"view-{number:02}", {"": seen.kind.view_shown(view, seen.inputs, marks)})
                found.append({"place": sample.place, "true": in_words(true), **picture})
        return found

    def _few(self) -> list[Sample]:
        """Return some training samples, evenly spaced over all of them."""
        its = self.seen.data.train
        step = max(1, len(its) // BATCH)
        return list(its[::step][:BATCH])


def in_words(state: Any) -> str:
    """Return a label, or boxes that were said, as a line: `cat`, `2 bird, 1 dog`."""
    if isinstance(state, Mapping) and "boxes" in state:
        counts = Counter(str(one["label"]) for one in state["boxes"])
        return ", ".join(f"{number} {visible(name, 40)}" for name, number in counts.items()) or "nothing"
    if isinstance(state, Mapping):
        parts = {name: in_words(one) for name, one in state.items() if name != "unknown"}
        return next(iter(parts.values()), "") if len(parts) == 1 else "; ".join(
            f"{visible(str(name), 40)} {one}" for name, one in parts.items()
        )  # fmt: skip
    if isinstance(state, Sequence) and not isinstance(state, str):
        return ", ".join(in_words(one) for one in state) or "none"
    return "no label" if state is None else f"{state:.6g}" if isinstance(state, float) else visible(str(state), 80)
