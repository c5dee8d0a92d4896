"""A job in which every field is another than its default."""

from dataclasses import fields, is_dataclass
from typing import Any

from hubft import Head, Job
from hubft.job import Adapting, Compute, Labels, Recipe, Teaching

EVERY_FIELD = Job(
    "timm:resnet18.a1_in1k",
    "pictures",
    labels=Labels("path", ("kind", "grade"), "part", "patient", "photos", "second", "several", ";", "none"),
    head=Head(hidden=(64, 32), dropout=0.25, outputs=7, pool="both"),
    recipe=Recipe(
        train="head,last:1@0.5",
        probe=False,
        epochs=3,
        budget="5m",
        batch_size=16,
        accumulate=2,
        tokens=4096,
        optimizer="lion",
        lr=0.01,
        body_lr=0.5,
        layer_decay=0.7,
        stage_lr=("layer4=0.001", "head=0.1"),
        weight_decay=0.1,
        anchor=0.3,
        wise=True,
        schedule="polynomial",
        power=2.0,
        warmup=0.2,
        clip=2.0,
        averaging=0.5,
        l1=0.001,
        loss="focal",
        class_weights=("rose=2", "tulip=0.5"),
        head_weights=("uncertainty",),
        sampler="balanced",
        patience=2,
        keep="best",
        smoothing=0.1,
        augment="strong",
        views=3,
        seed=5,
    ),
    adapting=Adapting("lora", 4, 16, "last:2,type:Linear", True, True, "nf4", True),
    compute=Compute("cpu", "bf16", "channels_last", "on", 3, 2, 1.5, 50, True, 2, True, True, "features"),
    teaching=Teaching("runs/teacher", 3.0, 0.7, 0.1, False),
    soup=("runs/second", "me/third"),
    greedy=True,
    size=64,
    holdout=0.3,
    surgery="relu=gelu,drop_path=0.1",
    white=4095,
    compress="bf16",
    max_drop=1.5,
    package="delta",
    keep_anyway=True,
    track=("tensorboard", "mlflow"),
    output="runs/mine",
)


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return every field of a dataclass, those of its parts too, by dotted name."""
    found: dict[str, Any] = {}
    for f in fields(value):
        its = getattr(value, f.name)
        found |= leaves(its, f"{path}{f.name}.") if is_dataclass(its) else {path + f.name: its}
    return found
