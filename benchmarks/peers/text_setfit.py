"""SetFit with its default arguments on MiniLM: one epoch of pairs of texts, then logistic regression on the embeddings.

The pairs grow with the square of the rows, so after --seconds no more are seen, which the line says; the regression
comes after, and its seconds count too.
"""

from __future__ import annotations

import tempfile
import time

import text_common
import transformers
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


class Stop(transformers.TrainerCallback):
    """Ends the training on pairs after so many seconds; 0: never."""

    def __init__(self, seconds: float) -> None:
        self.clock, self.seconds, self.stopped = text_common.Clock(), seconds, False

    def on_step_end(self, args: object, state: object, control: transformers.TrainerControl, **_: object) -> None:
        if self.seconds and time.perf_counter() - self.clock.began > self.seconds:
            control.should_training_stop = self.stopped = True


def main() -> None:
    given = text_common.options(__doc__)
    texts, labels = text_common.rows(given, "train")
    names = sorted(set(labels))
    model = SetFitModel.from_pretrained(text_common.weights(), labels=names, device="cpu")
    model.model_body.max_seq_length = given.length
    with tempfile.TemporaryDirectory() as folder:
        options = {"num_epochs": given.epochs} if given.epochs >= 0 else {}
        options |= {"batch_size": given.batch} if given.batch else {}
        arguments = TrainingArguments(folder, seed=given.seed, show_progress_bar=False, report_to="none",
                                      save_strategy="no", logging_strategy="no", **options)  # fmt: skip
        data = Dataset.from_dict({"text": texts, "label": [names.index(label) for label in labels]})
        stop = Stop(given.seconds)
        trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[stop])
        trainer.train()
        stop.clock.stop()
    asked, _ = text_common.rows(given, "test")
    said = [one if isinstance(one, str) else names[int(one)] for one in model.predict(asked)]
    text_common.show(
        "setfit", ["setfit", "sentence-transformers"], given, stop.clock.seconds, said, stopped=stop.stopped
    )


if __name__ == "__main__":
    main()
