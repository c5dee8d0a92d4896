"""AutoGluon's `MultiModalPredictor.fit` for a number: its default rates, schedule, transforms, metric and soup.

What is said in `autogluon_.py` of its defaults, batch and time holds here. It predicts by `predict`. It has no problem
type for several labels or for several targets.
"""

from __future__ import annotations

import tempfile

import autogluon_
import common
import labels_common
import pandas
from autogluon.multimodal import MultiModalPredictor
from labels_common import Table


def main() -> None:
    given = common.read(labels_common.parser(__doc__))
    if given.kind != "regression" or len(given.target) > 1:
        raise SystemExit("AutoGluon has no problem type for several labels or several heads")
    table, column = Table(given), given.target[0]
    frames = {
        part: pandas.DataFrame([(row["image"], float(row[column])) for row in rows], columns=["image", column])
        for part, rows in table.parts.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        predictor = MultiModalPredictor(label=column, problem_type="regression", path=folder, verbosity=0)
        clock = common.Clock()
        chosen = autogluon_.options(given)
        predictor.fit(frames["train"], tuning_data=frames["val"], hyperparameters=chosen, seed=given.seed)
        clock.stop()
        clock.images = [len(frames["train"]) * given.epochs / clock.seconds]
        said = predictor.predict(frames["test"][["image"]], as_pandas=False)
    libraries = ["autogluon.multimodal", "lightning"]
    labels_common.show("autogluon", libraries, given, clock, {column: [float(one) for one in said]})


if __name__ == "__main__":
    main()
