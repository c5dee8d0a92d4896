"""Hugging Face's `Trainer` with its default arguments on a detector: AdamW at 5e-5 falling in a line, batches of eight.

It knows no limit of time, so it gets as many steps as fit: the pace of a few is measured before, on a copy. The time is
what the model's processor makes of the pictures, once, and training.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import detect_common
import torch
from detect_common import Pictures
from text_common import Clock
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

COLD, PACED = 5, 25  # steps that are done to measure the pace, and how many of them do not count


class Laps(TrainerCallback):
    """When the steps behind the first ones began and ended."""

    def on_step_end(self, args: object, state: Any, control: object, **_: object) -> None:
        if state.global_step == COLD:
            self.clock = Clock()
        elif state.global_step == PACED:
            self.clock.stop()


def collated(examples: list[dict[str, Any]]) -> dict[str, Any]:
    pixels = torch.stack([one["pixel_values"] for one in examples])
    return {"pixel_values": pixels, "labels": [one["labels"] for one in examples]}


def trained(
    given: argparse.Namespace, names: list[str], data: list[Any], steps: int, laps: Laps | None = None
) -> torch.nn.Module:
    """Return the model after so many steps."""
    set_seed(given.seed)
    names_of = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    model = AutoModelForObjectDetection.from_pretrained(given.data / "model", ignore_mismatched_sizes=True, **names_of)
    rate = {"learning_rate": given.lr} if given.lr else {}
    quiet = {"disable_tqdm": True, "report_to": "none", "save_strategy": "no", "logging_strategy": "no"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=steps, seed=given.seed, use_cpu=True, remove_unused_columns=False, **rate, **quiet
        )
        worker = Trainer(model, arguments, data_collator=collated, train_dataset=data)
        if laps:
            worker.add_callback(laps)
        worker.train()
    return model


def main() -> None:
    given = detect_common.options(__doc__)
    processor, pictures = AutoImageProcessor.from_pretrained(given.data / "model"), Pictures(given.data / "train")
    laps, clock = Laps(), Clock()
    data = pictures.learned(processor)
    clock.stop()
    trained(given, pictures.names, data, PACED, laps)
    steps = max(1, int((given.seconds - clock.seconds) / (laps.clock.seconds / (PACED - COLD))))
    clock = Clock()
    model = trained(given, pictures.names, pictures.learned(processor), steps)
    clock.stop()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        found = detect_common.precision(folder, given)
    detect_common.show("trainer", ["accelerate"], given, clock.seconds, steps=steps, **found)


if __name__ == "__main__":
    main()
