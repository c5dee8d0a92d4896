"""The commands that look at labelled data, through a backbone that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubft.base.bounds import check
from hubft.base.console import Console
from hubft.base.files import writing
from hubft.cli.options import Trust
from hubft.families import plugins, takes
from hubft.job import Compute, Job, Labels, Recipe

Size = Annotated[int, Parameter(help="Side of the model's input, as for `finetune`; 0: the model's own.")]
Device = Annotated[str, Parameter(help="cpu, cuda, cuda:N, mps; auto takes the first accelerator.")]
Cache = Annotated[float, Parameter(help="Gigabytes of disk for features, over all runs, as for `finetune`.")]


def look(
    data: str,
    labels: Annotated[Labels | None, Parameter(name="*")] = None,
    *,
    reference: str = "",
    size: Size = 0,
    device: Device = "auto",
    cache: Cache = Compute.cache,
    output: str = "",
    trust: Trust = False,
) -> None:
    """Tell what is in DATA before anything is trained: counts, copies, leaks, suspicious labels. It is not changed.

    Parameters
    ----------
    data
        Labelled data, as for `finetune`.
    reference
        Backbone, as family:name, by whose features near-duplicates and suspicious labels are found; without one that of
        a package that is installed: pip:efficientnet_lite0 for images, pip:minilm_l6 for texts.
    output
        New folder for findings.csv, data.json and contact.png; without one it is runs/data-NAME, numbered if that
        exists.
    """
    from hubft import modality
    from hubft.cli import printing_data
    from hubft.run import data as reader
    from hubft.run import facts
    from hubft.run import looked as written

    named = bool(reference)
    if named:
        plugins.find(reference.partition(":")[0], typed=True)
    job = _job(reference or facts.DEFAULT["images"], data, labels, size, device, cache, output)
    folder = written.place(job)
    found = reader.read(job, kinds=takes.kinds(job.family) if named else tuple(modality.KINDS))
    console = Console()
    printing_data.show(console, found)
    from hubft.run import look as looking  # which imports torch: what the reader found is told before

    with writing(folder, "make room, or name another --output"):
        seen = looking.look(job, found, named, console, trust)
        written.write(folder, found, seen)
    printing_data.conclude(console, found, seen, folder)


def _job(
    reference: str, data: str, labels: Labels | None, size: int, device: str, cache: float, output: str = ""
) -> Job:
    """Return the job of a probe alone: what a fine-tune of the head would read and compute first."""
    compute = Compute(device=device, cache=cache)
    return Job(reference, data, labels=labels or Labels(), recipe=Recipe(epochs=0), compute=compute, size=size,
               output=output)  # fmt: skip


def features(
    reference: str,
    data: str,
    labels: Annotated[Labels | None, Parameter(name="*")] = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    classifier: str = "",
    size: Size = 0,
    device: Device = "auto",
    cache: Cache = Compute.cache,
    trust: Trust = False,
) -> None:
    """Write the pooled features that REFERENCE gives for DATA, and a table of their paths and targets.

    Parameters
    ----------
    reference
        Pretrained model, as family:name; it stays as it is.
    data
        Labelled data, as for `finetune`.
    output
        New file, .safetensors, for the matrix `features`; the table, of which each row is of a row of that, lies beside
        it, .parquet.
    classifier
        What to fit on them and to measure on the part to validate on, by commas: logistic, for numbers ridge, which is
        the probe that all are compared with; knn, centroid, boosting, of scikit-learn.
    """
    from hubft.run import data as reader

    plugins.find(reference.partition(":")[0], typed=True)
    _check_file(output)
    job = _job(reference, data, labels, size, device, cache)
    found = reader.read(job)
    from hubft.cli import printing_data
    from hubft.run import classifiers, vectors  # which import torch: what is wrong with data is told before

    names, console = classifiers.asked(classifier, found.task), Console()
    made = vectors.compute(job, found, console, trust)
    with writing(output, "make room, or name another --output"):
        table = vectors.write(made, output)
    console.say(f"features {output}: {sum(map(len, made.parts.values())):,} rows of {made.width:,}")
    console.say(f"table    {table}")
    if names:
        printing_data.compared(console, classifiers.compared(made.prepared, made.parts, names), found.word)


def _check_file(output: Path) -> None:
    """Refuse what features cannot be written to, before seconds go into them."""
    check(output.suffix == ".safetensors", "output", str(output), "a file called .safetensors")
    for file in (output, output.with_suffix(".parquet")):
        check(not file.exists(), "output", str(file), "a new file")
    check(output.parent.is_dir(), "output", str(output), "a file in a folder that is there")
