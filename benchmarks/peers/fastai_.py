"""fastai's `vision_learner(...).fine_tune(epochs)`: its default rates, head, transforms and loader processes.

`fine_tune(n)` trains the head for one epoch, then all for n. With --frozen: `fit_one_cycle(n)` of the learner as it
comes, which is frozen but for head and norms.
"""

from __future__ import annotations

import common
from fastai.callback.core import Callback
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, set_seed, vision_learner


class Laps(Callback):
    """Tells the clock of each epoch; after the Recorder, which notes the accuracy."""

    order = 60

    def __init__(self, clock: common.Clock) -> None:
        self.clock = clock

    def before_train(self) -> None:
        self.clock.epoch()

    def after_train(self) -> None:
        self.clock.trained(len(self.learn.dls.train) * common.BATCH)  # it drops the last, smaller batch

    def after_epoch(self) -> None:
        self.clock.validated(float(self.learn.recorder.log[-2]))


def main() -> None:
    given = common.options(__doc__)
    set_seed(given.seed)
    workers = {} if given.workers < 0 else {"num_workers": given.workers}
    data = ImageDataLoaders.from_folder(
        given.data,
        train="train",
        valid="val",
        item_tfms=Resize(given.size),
        batch_tfms=aug_transforms(),
        bs=common.BATCH,
        seed=given.seed,
        **workers,
    )
    learner = vision_learner(data, given.model, metrics=accuracy)
    clock = common.Clock()
    with learner.no_bar(), learner.no_logging():
        train = learner.fit_one_cycle if given.frozen else learner.fine_tune
        train(given.epochs, cbs=Laps(clock))
    clock.stop()
    common.show("fastai", ["fastai"], given, clock, accuracy=common.accuracy(learner.model, given))


if __name__ == "__main__":
    main()
