"""Rows and tokens a second of a full fine-tune of MiniLM: `Trainer`, padding to the longest, and hubft, in turn.

Trainer's own loop runs; after each of its steps hubft makes as many as it needs to have seen as many rows, so a busy
machine slows both alike. Both begin with the same weights, Trainer's new head among them, and train every weight, in
batches of the same number of rows, for one epoch, by one recipe: Trainer's AdamW at 5e-5, falling in a line, no decay
of weights, no average of them. Hubft computes as it measured for a run of EPOCHS. Padding counts for nothing: tokens
are those of the texts. Both are then measured on the test rows.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import text_common
import text_trainer
import torch
import transformers

from hubft import modality
from hubft.base.console import Console
from hubft.job import Compute, Head, Job, Labels, Recipe
from hubft.run.folder import Run
from hubft.run.phases import inputs, phases
from hubft.run.plan import settle
from hubft.run.prepare import prepare
from hubft.train import loop

BATCH, EPOCHS = 32, 20  # the latter is what the machine is measured for
RATE = 5e-5  # of Trainer
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


class Ours:
    """A run of hubft, step by step."""

    def __init__(self, given: text_common.argparse.Namespace, folder: str, begun: dict[str, torch.Tensor]) -> None:
        """:param begun: the weights that it begins with."""
        os.environ["HUBFT_CACHE"] = f"{folder}/cache"
        even = {"body_lr": 1.0, "layer_decay": 1.0, "weight_decay": 0.0, "warmup": 0.0, "averaging": 0.0}
        recipe = Recipe(
            train="all", probe=False, epochs=EPOCHS, batch_size=given.batch, seed=given.seed, lr=RATE,
            schedule="linear", **even,
        )  # fmt: skip
        job = Job(
            "pip:minilm_l6", str(given.data / "train.csv"), size=given.length, holdout=0.01, recipe=recipe,
            head=Head(pool="own"), labels=Labels(target=("label",)), output=f"{folder}/run",
            compute=Compute(threads=given.threads, workers=0, device="cpu"),
        )  # fmt: skip
        prepared, _ = settle(prepare(job), Run.create(job), Console(quiet=True))
        once = replace(prepared.job, recipe=replace(prepared.job.recipe, epochs=1))
        self.prepared = replace(prepared, job=once)
        self.prepared.loaded.model.load_state_dict(begun)

    def steps(self) -> Iterator[int]:
        """Train as a run does, and yield the number of rows of each step."""
        prepared = self.prepared
        recipe, runtime = prepared.job.recipe, prepared.runtime
        state = loop.start(prepared.loaded, recipe, runtime, prepared.data.task)
        seen = inputs(prepared, phases(prepared)[0], 0)
        for step in loop.fit(prepared.pm, state, recipe, seen.batches, runtime, seen.feed):
            yield step.images

    def said(self, texts: list[str]) -> list[str]:
        """Return the label that the model gives each text."""
        loaded, kind = self.prepared.loaded, modality.of(self.prepared.loaded.inputs)
        read = kind.reader(loaded.inputs)
        rows = [read(BytesIO(text.encode())) for text in texts]
        loaded.model.eval()
        with torch.no_grad():
            parts = [
                loaded.forward(loaded.model, kind.together(rows[at : at + BATCH], loaded.inputs)).argmax(1)
                for at in range(0, len(rows), BATCH)
            ]
        return [self.prepared.data.task.names[place] for place in torch.cat(parts).tolist()]


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
        mine = Ours(given, folder, network.state_dict())
        turns = InTurn(mine.steps(), given.batch)
        arguments = text_trainer.arguments(given, folder)
        trainer = transformers.Trainer(network, arguments, train_dataset=data, processing_class=tokenizer)
        trainer.add_callback(turns)
        trainer.train()
        asked, labels = text_common.rows(given, "test")
        answers = mine.said(asked)
        logits = trainer.predict(text_trainer.tokenised(tokenizer, asked, [0] * len(asked), given.length)).predictions
    rows, theirs, its = (sum(part) for part in zip(*turns.seconds[WARMUP:], strict=True))
    found = {"tokens_a_row": round(tokens, 1), "trainer": round(rows * tokens / theirs, 1)}
    found |= {"hubft": round(rows * tokens / its, 1), "ratio": round(theirs / its, 3)}
    found["hubft_accuracy"] = sum(a == b for a, b in zip(answers, labels, strict=True)) / len(labels)
    said = [names[place] for place in logits.argmax(1)]
    text_common.show("pace", ["transformers", "hubft"], given, theirs, said, **found)


if __name__ == "__main__":
    main()
