"""Hugging Face's `Trainer` with its default arguments, on its own wrapper of the timm model.

Images as in its example of image classification: random resized crops and flips. Its defaults are AdamW at 5e-5,
falling in a line, no evaluation while it trains, and images decoded in the main process.
"""

from __future__ import annotations

import tempfile

import common
import torch
from torchvision import transforms
from torchvision.datasets import ImageFolder
from transformers import (
    AutoModelForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Laps(TrainerCallback):
    def __init__(self, clock: common.Clock, images: int) -> None:
        self.clock, self.images = clock, images

    def on_epoch_begin(self, *_: object, **__: object) -> None:
        self.clock.epoch()

    def on_epoch_end(self, *_: object, **__: object) -> None:
        self.clock.trained(self.images)
        self.clock.validated(None)


def collate(examples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    inputs, labels = zip(*examples, strict=True)
    return {"pixel_values": torch.stack(inputs), "labels": torch.tensor(labels)}


def main() -> None:
    given = common.options(__doc__)
    set_seed(given.seed)
    own = common.settings(given.model, given.size)
    crop = [transforms.RandomResizedCrop(given.size), transforms.RandomHorizontalFlip()]
    tensor = [transforms.ToTensor(), transforms.Normalize(own["mean"], own["std"])]
    images = ImageFolder(str(given.data / "train"), transforms.Compose([*crop, *tensor]))
    model = AutoModelForImageClassification.from_pretrained(
        f"timm/{given.model}", num_labels=len(images.classes), ignore_mismatched_sizes=True
    )
    if given.frozen:
        head = {id(p) for p in model.timm_model.get_classifier().parameters()}
        for parameter in model.parameters():
            parameter.requires_grad = id(parameter) in head
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=given.epochs,
            per_device_train_batch_size=common.BATCH,
            seed=given.seed,
            dataloader_num_workers=max(0, given.workers),
            disable_tqdm=True,
        )
        worker = Trainer(model, arguments, data_collator=collate, train_dataset=images)
        clock = common.Clock()
        worker.add_callback(Laps(clock, len(images)))
        worker.train()
        clock.stop()
    common.show(
        "trainer", ["transformers", "accelerate"], given, clock, accuracy=common.accuracy(model.timm_model, given)
    )


if __name__ == "__main__":
    main()
