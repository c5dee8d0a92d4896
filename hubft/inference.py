"""A package at work: measured on labelled images, asked about others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from hubft import plugins
from hubft.errors import DataError
from hubft.job import Compute
from hubft.load import model as load_model
from hubft.publish.package import Package
from hubft.train import data, loader, loop, metrics
from hubft.train.decode import decode
from hubft.train.pixels import Views
from hubft.train.runtime import Runtime

BATCH = 32  # images; evaluation holds no gradients, so any machine that trains can do more


def evaluate(package: Package, folder: Path, trust: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (metrics of the package on a folder's images, what was left out of it), as a run measures them.

    :raises DataError: a folder without usable images, or with classes that the package lacks.
    """
    manifest = package.manifest
    samples, quarantined = data.labelled(folder, manifest.classes)
    runtime = Runtime(Compute())
    model = load_model(package, trust).to(runtime.device)
    batches = loader.in_order(Views(folder, samples, manifest.preprocess), BATCH, runtime)
    outputs, targets = loop.evaluate(plugins.manager(manifest.built.family), model, batches, runtime)
    return metrics.classification(outputs, targets, manifest.classes), quarantined


@torch.inference_mode()
def predict(package: Package, paths: Sequence[Path], trust: bool = False) -> Iterator[tuple[Path, dict[str, float]]]:
    """Yield each image with the probability of every class, the likeliest first; classes of one name add up.

    :raises DataError: a file that is no image; names it.
    """
    model = load_model(package, trust)
    for path in paths:
        try:
            image = decode(path)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        shares = model(model.preprocess(image)[None]).softmax(1)[0]  # type: ignore[operator]
        found: dict[str, float] = {}
        for name, share in zip(package.manifest.classes, shares.tolist(), strict=True):
            found[name] = found.get(name, 0.0) + share
        yield path, dict(sorted(found.items(), key=lambda one: -one[1]))


def pictures(paths: Sequence[Path]) -> list[Path]:
    """Return the files, folders replaced by the images in them.

    :raises DataError: nothing there.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [p for p in data.files(path) if p.suffix.lower() in data.SUFFIXES]
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{str(path)!r} does not exist")
    if not found:
        raise DataError(
            f"no images in {', '.join(map(str, paths)) or 'nothing'}; suffixes are {' '.join(data.SUFFIXES)}"
        )
    return found
