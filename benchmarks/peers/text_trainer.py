"""Hugging Face's `Trainer` with its default arguments on MiniLM: three epochs, AdamW at 5e-5 falling in a line, rows of
eight, padded to the longest of each.

The time is tokenising and training; what it says of the test is not in it. It knows no limit of time, so with --seconds
it makes at most as many steps as fit in what tokenising leaves, and its rate falls over these. What a step takes is
measured before, on PROBE of another model's, and not counted.
"""

from __future__ import annotations

import tempfile
import time

import text_common
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

PROBE = 8  # steps, of which the first two are not timed


class Steps(transformers.TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


def tokenised(
    tokenizer: transformers.PreTrainedTokenizerBase, texts: list[str], numbers: list[int], length: int = 512
) -> list[dict]:
    found = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    return [{"input_ids": ids, "labels": number} for ids, number in zip(found, numbers, strict=True)]


def arguments(given: text_common.argparse.Namespace, folder: str, steps: int = -1) -> TrainingArguments:
    """Return the defaults but for what was given, and at most so many steps."""
    epochs = {"num_train_epochs": given.epochs} if given.epochs >= 0 else {}
    batch = {"per_device_train_batch_size": given.batch} if given.batch else {}
    quiet = {"disable_tqdm": True, "report_to": "none", "save_strategy": "no", "logging_strategy": "no"}
    return TrainingArguments(folder, seed=given.seed, use_cpu=True, max_steps=steps, **epochs, **batch, **quiet)


def fitting(given: text_common.argparse.Namespace, folder: str, data: list[dict], names: list[str], left: float) -> int:
    """Return how many steps fit in so many seconds; -1 where all do."""
    timed, options = Steps(), arguments(given, folder, PROBE)
    trainer = Trainer(model(given, names), options, train_dataset=data, processing_class=tokenizer())
    trainer.add_callback(timed)
    trainer.train()
    steps = int(left / ((timed.ends[-1] - timed.ends[1]) / (PROBE - 2)))
    rows = options.train_batch_size
    return -1 if steps >= -(-len(data) // rows) * arguments(given, folder).num_train_epochs else max(1, steps)


def tokenizer() -> transformers.PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(text_common.weights())


def model(given: text_common.argparse.Namespace, names: list[str]) -> torch.nn.Module:
    transformers.logging.set_verbosity_error()
    made = AutoModelForSequenceClassification.from_pretrained(text_common.weights(), num_labels=len(names))
    if given.frozen:
        made.bert.requires_grad_(False)
    return made


def main() -> None:
    given = text_common.options(__doc__)
    texts, labels = text_common.rows(given, "train")
    names = sorted(set(labels))
    with tempfile.TemporaryDirectory() as folder:
        words, clock = tokenizer(), text_common.Clock()
        data = tokenised(words, texts, [names.index(label) for label in labels], given.length)
        clock.stop()
        seconds = clock.seconds
        steps = fitting(given, folder, data, names, given.seconds - seconds) if given.seconds else -1
        transformers.set_seed(given.seed)
        network, clock = model(given, names), text_common.Clock()
        trainer = Trainer(network, arguments(given, folder, steps), train_dataset=data, processing_class=words)
        trainer.train()
        clock.stop()
        asked, _ = text_common.rows(given, "test")
        seen = tokenised(words, asked, [0] * len(asked), given.length)
        found = trainer.predict(seen).predictions.argmax(1)
    done = {"steps": trainer.state.global_step, "epochs_done": trainer.state.epoch, "stopped": steps > 0}
    said = [names[place] for place in found]
    text_common.show("trainer", ["transformers"], given, seconds + clock.seconds, said, **done)


if __name__ == "__main__":
    main()
