"""Rows and tokens a second of a full fine-tune of MiniLM: `Trainer`, padding to the longest, and hubft, in turn.

Trainer's own loop runs; after each of its steps hubft makes as many as it needs to have seen as many rows, so a busy
machine slows both alike. Both train every weight in fp32, in batches of the same number of rows, for one epoch; hubft
computes as it measured for a run of --epochs. Padding counts for nothing: tokens are those of the texts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator

import text_common
import text_trainer
import transformers

from hubft.base.console import Console
from hubft.job import Compute, Job, Labels, Recipe
from hubft.run.folder import Run
from hubft.run.phases import inputs, phases
from hubft.run.plan import settle
from hubft.run.prepare import prepare
from hubft.train import loop

BATCH, EPOCHS = 32, 20
WARMUP = 2  # steps of Trainer, with what hubft makes in them, that are not counted


class InTurn(transformers.TrainerCallback):
    """After a step of Trainer lets hubft catch up."""

    def __init__(self, steps: Iterator[int], batch: int) -> None:
        self.steps, self.batch = steps, batch
        self.seen = {"trainer": 0, "hubft": 0}
        self.seconds: list[tuple[int, float, float]] = []
        """Rows of Trainer's step, what it took, and what hubft took to catch up."""

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        middle = time.perf_counter()
        self.seen["trainer"] += self.batch
        try:
            while self.seen["hubft"] < self.seen["trainer"]:
                self.seen["hubft"] += next(self.steps)
        except StopIteration:  # its last batch had fewer rows, as that of Trainer will have
            pass
        self.seconds.append((self.batch, middle - self.began, time.perf_counter() - middle))


def ours(given: text_common.argparse.Namespace, folder: str) -> Iterator[int]:
    """Train as a run does, and yield the number of rows of each step."""
    os.environ["HUBFT_CACHE"] = f"{folder}/cache"
    recipe = Recipe(train="all", probe=False, epochs=EPOCHS, batch_size=given.batch, seed=given.seed)
    data, labels = given.data / "train.csv", Labels(target=("label",))
    compute = Compute(threads=given.threads, workers=0, device="cpu")
    job = Job(
        "pip:minilm_l6",
        str(data),
        size=given.length,
        labels=labels,
        recipe=recipe,
        compute=compute,
        output=f"{folder}/run",
    )
    prepared, _ = settle(prepare(job), Run.create(job), Console(quiet=True))
    runtime = prepared.runtime
    state = loop.start(prepared.loaded, prepared.job.recipe, runtime, prepared.data.task)
    seen = inputs(prepared, phases(prepared)[0], 0)
    for step in loop.fit(prepared.pm, state, prepared.job.recipe, seen.batches, runtime, seen.feed):
        yield step.images


def main() -> None:
    given = text_common.options(__doc__)
    given.batch, given.epochs = given.batch or BATCH, 1
    transformers.set_seed(given.seed)
    texts, labels = text_common.rows(given, "train")
    names = sorted(set(labels))
    network = text_trainer.model(given, names)
    tokenizer = text_trainer.tokenizer()
    numbers = [names.index(label) for label in labels]
    data = text_trainer.tokenised(tokenizer, texts, numbers, given.length)
    tokens = sum(len(one["input_ids"]) for one in data) / len(data)
    with tempfile.TemporaryDirectory() as folder:
        turns = InTurn(ours(given, folder), given.batch)
        arguments = text_trainer.arguments(given, folder)
        trainer = transformers.Trainer(network, arguments, train_dataset=data, processing_class=tokenizer)
        trainer.add_callback(turns)
        trainer.train()
    rows, theirs, mine = (sum(part) for part in zip(*turns.seconds[WARMUP:], strict=True))
    found = {"tokens_a_row": round(tokens, 1), "trainer": round(rows * tokens / theirs, 1)}
    found |= {"hubft": round(rows * tokens / mine, 1), "ratio": round(theirs / mine, 3)}
    asked, _ = text_common.rows(given, "test")
    said = trainer.predict(text_trainer.tokenised(tokenizer, asked, [0] * len(asked), given.length)).predictions.argmax(
        1
    )
    text_common.show("pace", ["transformers", "hubft"], given, theirs, [names[place] for place in said], **found)


if __name__ == "__main__":
    main()
