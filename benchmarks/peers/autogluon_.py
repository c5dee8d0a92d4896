"""AutoGluon's `MultiModalPredictor.fit` on the timm model: its default rates, schedule, transforms and soup.

Its defaults are AdamW at 1e-4 with layer-wise decay 0.9, TrivialAugment, validation twice an epoch, and a greedy soup
of the three best states by accuracy on data/val: it alone looks there to choose. Its effective batch is 128, in parts
of 8; here as for all. Building the model, validation and soup are inside `fit`, and so in its
time and in its images a second.
"""

from __future__ import annotations

import tempfile
from typing import Any

import common
import pandas
from autogluon.multimodal import MultiModalPredictor
from torchvision.datasets import ImageFolder


def table(folder: common.Path) -> pandas.DataFrame:
    images = ImageFolder(str(folder))
    return pandas.DataFrame([(path, images.classes[n]) for path, n in images.samples], columns=["image", "label"])


def options(given: common.argparse.Namespace) -> dict[str, Any]:
    """Return the model, input size and epochs that were asked for, and the batch of all systems."""
    chosen = {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": given.model,
        "model.timm_image.image_size": given.size,
        "optim.max_epochs": given.epochs,
        "env.batch_size": common.BATCH,
        "env.per_gpu_batch_size": common.BATCH,
    }
    return chosen | ({"env.num_workers": given.workers} if given.workers >= 0 else {})


def main() -> None:
    given = common.options(__doc__)
    if given.frozen:
        raise SystemExit("AutoGluon has no switch that trains the head alone")
    train, val = table(given.data / "train"), table(given.data / "val")
    with tempfile.TemporaryDirectory() as folder:
        predictor = MultiModalPredictor(label="label", path=folder, verbosity=0)
        clock = common.Clock()
        predictor.fit(train, tuning_data=val, hyperparameters=options(given), seed=given.seed)
        clock.stop()
        clock.images = [len(train) * given.epochs / clock.seconds]  # it has no place to listen to its epochs
        network = predictor._learner._model  # there is no public way to it
        assert list(predictor.class_labels) == sorted(set(train["label"]))
        whole = common.nn.Sequential(network.model, network.head)
        share = common.accuracy(whole, given)
    common.show("autogluon", ["autogluon.multimodal", "lightning"], given, clock, accuracy=share)


if __name__ == "__main__":
    main()
