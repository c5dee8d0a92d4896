"""What every driver of this folder shares: options, the clock, the evaluation, the line that is printed.

It runs in the environment of each system, so it needs torch, torchvision, timm and pillow, and nothing of hubft.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

BATCH = 32  # of every system: what they default to differs from 4 to 128, and their speed with it


def options(description: str | None, flags: bool = False) -> argparse.Namespace:
    """Return the options that every driver takes; with `flags`, whatever else is given is kept in `extra`."""
    return read(parser(description, "folder with train/CLASS/* and val/CLASS/*"), flags)


def parser(description: str | None, data: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--data", type=Path, required=True, help=data)
    made.add_argument("--model", default="tf_efficientnet_lite0.in1k", help="name of a timm model with weights")
    made.add_argument("--size", type=int, default=224, help="side of the model's input, pixels")
    made.add_argument("--epochs", type=int, default=3)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--frozen", action="store_true", help="train the head alone")
    made.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 is the system's default")
    made.add_argument("--workers", type=int, default=-1, help="of the data loader; -1 is the system's default")
    return made


def read(parser: argparse.ArgumentParser, flags: bool = False) -> argparse.Namespace:
    found, found.extra = parser.parse_known_args()
    if found.extra and not flags:
        parser.error(f"unknown options {' '.join(found.extra)}")
    if found.threads:
        torch.set_num_threads(found.threads)
    return found


def settings(model: str, size: int) -> dict[str, Any]:
    """Return the preprocessing of a model's weights at an input size: mean, std, interpolation, crop_pct."""
    config = timm.get_pretrained_cfg(model)
    assert config, f"timm has no weights named {model}"
    return resolve_data_config({"img_size": size}, pretrained_cfg=config.to_dict())


class Clock:
    """Seconds of a fit, as a whole and by epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.images: list[float] = []
        self.began = self.mark = time.perf_counter()
        self.seconds = 0.0

    def epoch(self) -> None:
        """Note that the training of an epoch begins."""
        self.mark = time.perf_counter()

    def trained(self, images: int) -> None:
        """Note that the training of an epoch is over; its validation may follow."""
        seconds = time.perf_counter() - self.mark
        self.epochs.append({"training_seconds": round(seconds, 3)})
        self.images.append(images / seconds)

    def validated(self, accuracy: float | None = None, **seen: float) -> None:
        """Note that the epoch is over, with the accuracy or whatever else the system itself saw, if it looked."""
        self.epochs[-1]["seconds_so_far"] = round(time.perf_counter() - self.began, 3)
        self.epochs[-1]["accuracy"] = accuracy
        self.epochs[-1] |= seen

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self.began

    def images_per_second(self) -> float:
        """Return the median pace of the epochs' training, the first left out where there are others: it warms up."""
        return statistics.median(self.images[1:] or self.images or [0.0])


def accuracy(model: Callable[[Tensor], Tensor], given: argparse.Namespace) -> float:
    """Return the share of data/test, or where there is none of data/val, that a model names right.

    One way for all, so that none gains by its own: the plain evaluation transform of the model's weights at the given
    size, fp32, outputs in the order of the sorted class names.
    """
    transform = create_transform(**settings(given.model, given.size), is_training=False)
    test = given.data / "test"
    images = ImageFolder(str(test if test.exists() else given.data / "val"), transform)
    right = 0
    device = torch.device("cpu")
    if isinstance(model, nn.Module):
        model.eval()
        device = next(model.parameters()).device
    with torch.inference_mode():
        for inputs, targets in DataLoader(images, batch_size=BATCH):
            right += int((model(inputs.to(device)).argmax(1).cpu() == targets).sum())
    return right / len(images)


def show(system: str, libraries: list[str], given: argparse.Namespace, clock: Clock, **found: Any) -> None:
    """Print the run as one line of JSON, with what was found."""
    line = {
        "system": system,
        "model": given.model,
        "data": given.data.name,
        "size": given.size,
        "epochs": given.epochs,
        "seed": given.seed,
        "frozen": given.frozen,
        "threads": given.threads or torch.get_num_threads(),
        "extra": given.extra,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": {name: version(name) for name in ["torch", "torchvision", "timm", *libraries]},
        **found,
        "train_seconds": round(clock.seconds, 3),
        "images_per_second": round(clock.images_per_second(), 2),
        "per_epoch": clock.epochs,
    }
    print(json.dumps(line), flush=True)
