"""TensorBoard: event files in the run's folder, by its own writer, without torch or TensorFlow."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubft.tracking.tracker import Begin, Row, State

LIBRARIES = ("tensorboard",)


class TensorBoard:
    at_once, note = True, ""

    def __init__(self, begin: Begin) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.known, self.where = begin.name, f"tensorboard --logdir {shlex.quote(str(begin.folder.parent))}"
        self.event, self.protos, self.text = event_pb2.Event, summary_pb2.Summary, text_pb
        self.writer = EventFileWriter(str(begin.folder))
        if not begin.known:  # a run that goes on writes a further file into the same folder
            rows = "".join(f"\n| {name} | {value} |" for name, value in begin.config.items())
            self._add(0, self.text("config", f"| field | value |\n| --- | --- |{rows}"))
            self._add(0, hparams_pb(dict(begin.config), trial_id=begin.name))

    def values(self, rows: Sequence[Row]) -> None:
        for step, values in rows:
            its = [self.protos.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._add(step, self.protos(value=its))
        self.writer.flush()

    def picture(self, name: str, path: Path, step: int) -> None:
        from PIL import Image

        with Image.open(path) as image:
            width, height = image.size
        its = self.protos.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._add(step, self.protos(value=[self.protos.Value(tag=name, image=its)]))

    def report(self, path: Path) -> None:
        self._add(0, self.text("report", str(path)))

    def package(self, manifest: Path, sha256: str) -> None:
        self._add(0, self.text("package", f"{manifest.parent}, sha256 {sha256}"))

    def end(self, state: State) -> None:
        self.writer.close()

    def _add(self, step: int, summary: Any) -> None:
        self.writer.add_event(self.event(wall_time=time.time(), step=step, summary=summary))


def opened(begin: Begin) -> TensorBoard:
    """Return the run in TensorBoard."""
    return TensorBoard(begin)
