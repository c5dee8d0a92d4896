"""Tiny labelled pictures, made when a test needs them."""

from pathlib import Path

import numpy
from PIL import Image


def folder(root: Path, classes: tuple[str, ...] = ("ants", "bees", "wasps"), train: int = 12, val: int = 4) -> Path:
    """Write `root/{train,val}/CLASS/*.png`, 40 x 36 pixels of noise around a colour of the class, and return root."""
    random = numpy.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(pixels(random, label)).save(root / part / name / f"{i}.png")
    return root


def pixels(random: numpy.random.Generator, label: int) -> numpy.ndarray:
    """Return uint8 `[36, 40, 3]`; the channel `label % 3` is brighter than the others, by less than the noise."""
    noise = random.normal(110, 60, (36, 40, 3))
    noise[..., label % 3] += 40
    return noise.clip(0, 255).astype(numpy.uint8)


def noise(seed: int, height: int = 8, width: int = 8) -> Image.Image:
    return Image.fromarray(numpy.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=numpy.uint8))


def fill(folder: Path, seeds: range, name: str = "{}.png") -> Path:
    """Write an image for each seed; equal seeds make equal bytes, other seeds other bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        noise(seed).save(folder / name.format(seed))
    return folder
