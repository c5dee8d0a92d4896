"""The metadata in front of a model card: what the Hugging Face Hub reads of it to sort, link and rank."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hubft import modality
from hubft.base.display import visible
from hubft.publish import lines, measured
from hubft.publish.manifest import CONFIG, Manifest
from hubft.tasks.metrics import title

# Licences that the Hub knows by name (https://huggingface.co/docs/hub/repositories-licenses), as far as models for
# images carry them; any other is `other` to it, with a name beside it.
LICENSE = re.compile(
    r"apache-2\.0|mit|isc|unlicense|unknown|bsd|bsd-2-clause|bsd-3-clause(-clear)?|mpl-2\.0|gpl-2\.0|lgpl-2\.1|"
    r"[al]?gpl-3\.0|cc0-1\.0|cc-by-(2\.0|2\.5|3\.0)|cc-by(-nc)?(-nd|-sa)?-4\.0|apple-(amlr|ascl)|gemma|openrail"
)
REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")


def front(manifest: Manifest, hub: str, formats: Sequence[str] = ()) -> str:
    """Return the YAML of the card's front, as the Hub's own library writes it.

    The Hub makes links of `datasets` and `base_model`: a folder called mnist would link to a stranger's data. So the
    data has its folder's name as a title only, and the type by which the Hub knows folders of images.

    :param formats: of the exported files that lie beside the package.
    """
    from huggingface_hub import EvalResult, ModelCardData

    base, job, reads = manifest.base, manifest.job, modality.of(manifest.inputs)
    task = manifest.task.pipeline.format(word=reads.word)
    known = not base.license or LICENSE.fullmatch(base.license)
    results = [
        EvalResult(
            task_type=task,
            dataset_type=reads.dataset,
            dataset_name=visible(str(job.data)) or "unknown",
            dataset_split=split,
            metric_type=kind,
            metric_name=title,
            metric_value=value,
        )
        for split, its in (("validation", manifest.metrics), ("test", manifest.metrics.get("test")))
        for kind, title, value in _metrics(its)
    ]
    return ModelCardData(
        base_model=base.hub if REPOSITORY.fullmatch(base.hub) else None,
        license=(base.license or "unknown") if known else "other",
        license_name=None if known else _slug(base.license).lower() or "unknown",
        pipeline_tag=task,
        library_name="hubft",
        tags=["hubft", _slug(base.architecture.partition(":")[0]) or "unknown", task]
        + [lines.library(manifest)] * (CONFIG in manifest.files)
        + list(formats),
        model_name=(hub or visible(job.reference)) if results else None,
        eval_results=results or None,
    ).to_yaml()


def _metrics(data: object) -> Iterator[tuple[str, str, float]]:
    """Yield type, title and value of the headline; the interval's ends have types of their own, so that nobody ranks
    them."""
    if metrics := measured.of(data):
        kind, found = _slug(metrics.headline) or "unknown", metrics.head
        name = visible(title(metrics.headline))
        name = name[0].upper() + name[1:]
        yield kind, name, found.value
        if found.low is not None and found.high is not None:
            yield f"{kind}_low", f"{name}, lower end of the 95 % interval", found.low
            yield f"{kind}_high", f"{name}, upper end of the 95 % interval", found.high


def _slug(name: str) -> str:
    """Return a name in the characters of the Hub's identifiers; nothing, where none of it is left."""
    return re.sub(r"[^A-Za-z0-9._]+|\.\.+", "-", name)[:96].strip("-._")
