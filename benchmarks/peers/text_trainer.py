"""Hugging Face's `Trainer` with its default arguments on MiniLM: three epochs, AdamW at 5e-5 falling in a line, rows of
eight, padded to the longest of each.

The time is tokenising and training; what it says of the test is not in it.
"""

from __future__ import annotations

import tempfile

import text_common
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments


class Stop(transformers.TrainerCallback):
    def __init__(self, clock: text_common.Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def on_step_end(self, args: object, state: object, control: transformers.TrainerControl, **_: object) -> None:
        control.should_training_stop = control.should_training_stop or self.clock.over(self.seconds)


def tokenised(tokenizer: transformers.PreTrainedTokenizerBase, texts: list[str], numbers: list[int]) -> list[dict]:
    found = tokenizer(texts, truncation=True)["input_ids"]
    return [{"input_ids": ids, "labels": number} for ids, number in zip(found, numbers, strict=True)]


def arguments(given: text_common.argparse.Namespace, folder: str) -> TrainingArguments:
    """Return the defaults but for what was given."""
    epochs = {"num_train_epochs": given.epochs} if given.epochs >= 0 else {}
    batch = {"per_device_train_batch_size": given.batch} if given.batch else {}
    quiet = {"disable_tqdm": True, "report_to": "none", "save_strategy": "no", "logging_strategy": "no"}
    return TrainingArguments(folder, seed=given.seed, use_cpu=True, **epochs, **batch, **quiet)


def model(given: text_common.argparse.Namespace, names: list[str]) -> torch.nn.Module:
    transformers.logging.set_verbosity_error()
    made = AutoModelForSequenceClassification.from_pretrained(text_common.weights(), num_labels=len(names))
    if given.frozen:
        made.bert.requires_grad_(False)
    return made


def main() -> None:
    given = text_common.options(__doc__)
    transformers.set_seed(given.seed)
    texts, labels = text_common.rows(given, "train")
    names = sorted(set(labels))
    network, tokenizer = model(given, names), AutoTokenizer.from_pretrained(text_common.weights())
    with tempfile.TemporaryDirectory() as folder:
        clock = text_common.Clock()
        data = tokenised(tokenizer, texts, [names.index(label) for label in labels])
        trainer = Trainer(network, arguments(given, folder), train_dataset=data, processing_class=tokenizer)
        trainer.add_callback(Stop(clock, given.seconds))
        trainer.train()
        clock.stop()
        asked, _ = text_common.rows(given, "test")
        found = trainer.predict(tokenised(tokenizer, asked, [0] * len(asked))).predictions.argmax(1)
    said = [names[place] for place in found]
    tokens = sum(len(one["input_ids"]) for one in data)
    text_common.show(
        "trainer", ["transformers"], given, clock.seconds, said, tokens=tokens, steps=trainer.state.global_step
    )


if __name__ == "__main__":
    main()
