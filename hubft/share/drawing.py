"""Answers drawn on the pictures that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hubft import modality
from hubft.base.display import visible
from hubft.base.errors import JobError
from hubft.base.files import marked, write_bytes
from hubft.base.marks import Drawing
from hubft.data.asked import Input
from hubft.publish.manifest import Manifest
from hubft.share.opened import Answer

SUFFIX = ".jpg"


def drawn(answers: Iterable[Answer], inputs: Sequence[Input], manifest: Manifest, folder: Path) -> Iterator[Answer]:
    """Return the same answers, and write each picture to a folder with what was said drawn on it: `0001-NAME.jpg`.

    :param inputs: that the answers are of, in their order.
    :raises JobError: the model says nothing that could be drawn.
    """
    drawing = modality.of(manifest.inputs).drawing()
    if not manifest.task.located or drawing is None:
        raise JobError(f"--draw: a model of the kind {manifest.task.kind} says of no place what is there: leave it out")
    return _drawn(answers, inputs, manifest, marked(folder), drawing)


def _drawn(
    answers: Iterable[Answer], inputs: Sequence[Input], manifest: Manifest, folder: Path, drawing: Drawing
) -> Iterator[Answer]:
    for number, (answer, one) in enumerate(zip(answers, inputs, strict=True), 1):
        if not answer.error:
            name = visible(Path(one.place).stem, 60).replace("/", "_")
            write_bytes(
                folder / f"{number:04}-{name}{SUFFIX}", drawing.one(one.open(), answer.said, manifest.task.names)
            )
        yield answer
