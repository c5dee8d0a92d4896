"""Labelled data, looked at through a backbone that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from hubft.api.asked import job, spelled
from hubft.base.console import Console
from hubft.options import LookOptions
from hubft.reference import ANY
from hubft.run import data as reader
from hubft.run import inspecting, vectors
from hubft.run.inspecting import Inspection
from hubft.run.vectors import Features


@spelled(LookOptions)
def inspect_data(
    data: str | Path,
    *,
    reference: str = "",
    output: str | Path = "",
    trust: bool = False,
    **options: Unpack[LookOptions],
) -> Inspection:
    """Return what is in labelled data before anything is trained, as `hubft data` does; it is not changed.

    `Inspection.facts` has counts and sizes, `Inspection.findings` what to look at: copies, leaks between splits,
    near-duplicates, suspicious labels. The folder holds the same as data.json and findings.csv.

    :param data: as for `finetune`.
    :param reference: backbone by whose features near-duplicates and suspicious labels are found; without one, that of a
        package that is installed. Where that is not there, `Inspection.seen.left_out` says so.
    :param output: new folder; without one it is runs/data-NAME, numbered if that exists.
    :param trust: as for `finetune`.
    :param options: as for `finetune`, those that say what labels are and where features are computed.
    :raises HubftError: bad input; a folder that exists; a backbone that was named and cannot be had.
    """
    asked = inspecting.asked(replace(job(ANY, data, options, LookOptions), output=output), reference)
    return inspecting.inspect(asked, asked.read(), Console(quiet=True), trust)


@spelled(LookOptions)
def features(
    reference: str,
    data: str | Path,
    *,
    output: str | Path,
    classifier: str | Sequence[str] = "",
    trust: bool = False,
    **options: Unpack[LookOptions],
) -> Features:
    """Return where the pooled features that a model gives for labelled data were written, and what classifiers reach
    on them.

    `Features.matrix` is the file with the tensor `features`, float32 `[rows, width]`; row i of `Features.table` is of
    its row i. `Features.classifiers` has the metrics of each, the probe first, and its paired difference to the probe.

    :param reference: as for `finetune`; the model stays as it is.
    :param data: as for `finetune`.
    :param output: new file, .safetensors; the table lies beside it, .parquet.
    :param classifier: what to fit on the training part and to measure on the validation part, by commas or as a list:
        logistic, for numbers ridge, which is the probe; knn, centroid, boosting.
    :param trust: as for `finetune`.
    :param options: as for `inspect_data`.
    :raises HubftError: bad input, before anything is written; a model without features for these labels.
    """
    made = inspecting.of_features(replace(job(reference, data, options, LookOptions), output=output))
    names = classifier if isinstance(classifier, str) else ",".join(classifier)
    return vectors.features(made, reader.read(made), names, Console(quiet=True), trust)
