"""fastai's `vision_learner(...).fine_tune(epochs)` on a `DataBlock`, for several labels or for a number.

`MultiCategoryBlock` or `RegressionBlock`, and everything else by default: rates, head, loss, `aug_transforms`; but for
a number `y_range`, as in its own tutorials: the range of the training numbers and a tenth more on either side. Without
it the first outputs are so far off that few epochs do not bring them back. It predicts by `get_preds`. Several heads it
cannot train without code of one's own: there is no loss of several targets, and no number of outputs can be inferred.
"""

from __future__ import annotations

import common
import labels_common
import pandas
from fastai.vision.all import (
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    MultiCategoryBlock,
    RegressionBlock,
    Resize,
    aug_transforms,
    set_seed,
    vision_learner,
)
from fastai_ import Laps
from labels_common import Said, Table


def main() -> None:
    given = common.read(labels_common.parser(__doc__))
    if given.kind == "several" or len(given.target) > 1:
        raise SystemExit("fastai has no loss of several heads")
    table, column = Table(given), given.target[0]
    several = given.kind == "multilabel"
    set_seed(given.seed)
    rows = pandas.DataFrame([row | {"is_valid": part == "val"} for part, rows in table.parts.items() for row in rows])
    if not several:
        rows[column] = rows[column].astype(float)
    block = DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock if several else RegressionBlock),
        get_x=ColReader("image"),
        get_y=ColReader(column, label_delim=labels_common.SEPARATOR if several else None),
        splitter=ColSplitter(),
        item_tfms=Resize(given.size),
        batch_tfms=aug_transforms(),
    )
    workers = {} if given.workers < 0 else {"num_workers": given.workers}
    data = block.dataloaders(rows[rows["split"] != "test"], bs=common.BATCH, **workers)
    learner = vision_learner(data, given.model, y_range=None if several else bounds(table, column))
    clock = common.Clock()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(given.epochs, cbs=Laps(clock))
        clock.stop()
        outputs, _ = learner.get_preds(dl=data.test_dl(rows[rows["split"] == "test"]))
    said: Said = dict(zip(data.vocab, outputs.T.tolist(), strict=True)) if several else outputs.flatten().tolist()
    labels_common.show("fastai", ["fastai"], given, clock, {column: said})


def bounds(table: Table, column: str) -> tuple[float, float]:
    numbers = [float(row[column]) for row in table.parts["train"]]
    more = 0.1 * (max(numbers) - min(numbers))
    return min(numbers) - more, max(numbers) + more


if __name__ == "__main__":
    main()
