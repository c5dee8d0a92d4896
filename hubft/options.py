"""The options of a run by name: the fields of `Job` and of its parts, side by side; and listed for type checkers and
editors.

A test keeps that list equal to them, and prints what it should be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from hubft.job import Adapting, Compute, Head, Job, Labels, Recipe, Teaching, Tracker

PARTS: Mapping[str, type] = {
    "labels": Labels,
    "head": Head,
    "recipe": Recipe,
    "adapting": Adapting,
    "compute": Compute,
    "teaching": Teaching,
}
"""Parts of a job whose fields are options of their own."""
OWN = ("outputs",)  # fields that no user sets


class LookOptions(TypedDict, total=False):
    """Of `hubft.inspect_data` and `hubft.features`, which look at labelled data through a frozen backbone."""

    input: str
    target: str | Sequence[str]
    split: str
    group: str
    images: str
    pair: str
    task: str
    separator: str
    empty: Literal["", "none", "unlabelled"]
    size: int
    surgery: str
    device: str
    cache: float


class RankOptions(LookOptions, total=False):
    """Of `hubft.rank`."""

    hidden: Sequence[int]
    dropout: float
    pool: Literal["auto", "own", "token", "patches", "both"]
    epochs: int
    batch_size: int
    seed: int
    holdout: float
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    memory_format: Literal["auto", "contiguous", "channels_last"]
    compile: Literal["auto", "on", "off"]
    threads: int
    workers: int
    checkpoint_every: int
    checkpoint_activations: bool
    devices: int
    exact: bool
    shard: bool
    cache_folder: str


class Options(RankOptions, total=False):
    """Of `hubft.finetune`; `hubft finetune --help` describes them."""

    train: str
    probe: bool
    budget: str
    accumulate: int
    tokens: int
    optimizer: str
    lr: float
    body_lr: float | None
    layer_decay: float | None
    stage_lr: str | Sequence[str]
    weight_decay: float
    anchor: float
    wise: bool
    schedule: Literal["cosine", "linear", "polynomial", "step", "one-cycle", "constant"]
    power: float
    warmup: float
    clip: float
    averaging: float
    l1: float
    loss: str | Callable[..., Any]
    class_weights: str | Sequence[str]
    head_weights: str | Sequence[str]
    sampler: Literal["even", "balanced"]
    patience: int
    keep: Literal["last", "best"]
    smoothing: float
    augment: Literal["auto", "none", "light", "standard", "strong"]
    views: int
    adapter: Literal["none", "lora"]
    rank: int
    alpha: int
    adapter_layers: str
    rslora: bool
    dora: bool
    quantize_base: Literal["none", "int8", "nf4"]
    merge: bool
    teacher: str
    temperature: float
    imitation: float
    hints: float
    baseline: bool
    soup: str | Sequence[str]
    greedy: bool
    white: int
    compress: str
    max_drop: float | None
    package: Literal["full", "delta"]
    keep_anyway: bool
    track: Tracker | Sequence[Tracker]
    output: str | Path


def fields() -> Iterator[tuple[str, tuple[str, dataclasses.Field[Any]]]]:
    """Yield every option with the part of a job that it is of, and its field; the job's own have no part."""
    for field in dataclasses.fields(Job):
        if field.name in PARTS:
            for inner in dataclasses.fields(PARTS[field.name]):
                if inner.name not in OWN:
                    yield inner.name, (field.name, inner)
        elif field.name not in ("reference", "data"):
            yield field.name, ("", field)
