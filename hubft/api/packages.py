"""Packages put to work: measured on labelled data, asked about other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hubft.deploy.export.opening import averaging, opened
from hubft.job import Columns
from hubft.share import inference
from hubft.share.inference import Evaluation
from hubft.share.opened import Answer


def evaluate(
    source: str | Path,
    data: str | Path,
    *,
    trust: bool = False,
    columns: Columns | None = None,
    others: Sequence[str | Path] = (),
    tta: str = "",
) -> Evaluation:
    """Return what a package reaches on labelled images that it was not trained on.

    :param source: folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or an exported file.
    :param data: as for `finetune`; its labels must be the package's.
    :param columns: of a table, where they are not called as those that were trained on.
    :param others: further packages, of the same task and names: what is measured is the mean of their answers, beside
        each of them (`Evaluation.beside`).
    :param tta: flips or crops, to measure the mean over views of a picture, beside one view.
    :raises HubftError: no package, or data that does not fit it.
    """
    how = averaging(source, others, tta, trust)
    return inference.evaluate(opened(source, trust), data, columns=columns, how=how)


def predict(
    source: str | Path,
    images: str | Path | Iterable[str | Path],
    *,
    trust: bool = False,
    input: str = "",
    pair: str = "",
    others: Sequence[str | Path] = (),
    tta: str = "",
) -> list[Answer]:
    """Return what a package says of images, in their order: an answer each, also where one cannot be read.

    :param source: folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or an exported file.
    :param images: files, folders of them, and tables that name them.
    :param input: column of a table with the images or texts; found, where one column alone holds such.
    :param pair: column of a table with the second texts, of a package that takes pairs.
    :param others: further packages, whose answers are averaged with those of the first, as `tta` is, for `evaluate`.
    :raises HubftError: no package, or nothing to be read.
    """
    columns, how = Columns(input=input, pair=pair), averaging(source, others, tta, trust)
    return list(inference.predict(opened(source, trust), images, columns, how))
