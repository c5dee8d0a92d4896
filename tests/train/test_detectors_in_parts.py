"""The gradient of a batch with boxes that is computed in parts, of one process or of several, is that of the batch."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import detectors as made
import pytest
import torch
from extras import needs
from torch import Tensor, distributed, nn

from hubft import Head
from hubft.families import plugins
from hubft.families.build import headed
from hubft.hookspecs import Base, Loaded
from hubft.inputs import Images
from hubft.job import Compute, Recipe
from hubft.machine.runtime import Runtime
from hubft.tasks.boxes import Boxes
from hubft.train import loop
from hubft.train.gradient import Gradient, mean

needs("faster_coco_eval", "detection")
SIDE = 64
TASK = Boxes(tuple("abcdefghij"))
CROWD = (3, 0.0, 0.0, 9.0, 9.0, True)
TARGETS = TASK.collate(
    [
        ((2, 5.0, 5.0, 60.0, 50.0, False), (1, 10.0, 8.0, 30.0, 28.0, False), (0, 30.0, 30.0, 62.0, 60.0, False)),
        ((4, 2.0, 20.0, 40.0, 60.0, False), (3, 0.0, 0.0, 9.0, 9.0, True)),
        (),
        ((7, 12.0, 3.0, 50.0, 33.0, False), (7, 0.0, 0.0, 20.0, 20.0, False)),
        ((9, 20.0, 20.0, 60.0, 64.0, False),),
        (),
        (),
    ]
)
CUT = (0, 3, 5, 7)
"""Where the batch is cut into parts: of four, three and no boxes, with one that is a crowd."""

TORCHVISION = (
    "ssdlite320_mobilenet_v3_large",
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
QUIET = {"num_denoising": 0}  # of parts another noise is drawn, for as many queries as their own boxes ask for
NO_SUM = {"weight_loss_ddf": 0.0}  # a term of D-FINE that is no sum over boxes, nor over images
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "conditional_detr": {},
    "d_fine": {**QUIET, **NO_SUM},
    "dab-detr": {"auxiliary_loss": True},
    "deformable_detr": {"auxiliary_loss": True},
    "deimv2": {**QUIET, **NO_SUM, "use_dense_one_to_one": False},
    "detr": {"auxiliary_loss": True},
    "lw_detr": {},
    "rf_detr": {},
    "rt_detr": QUIET,
    "rt_detr_v2": QUIET,
    "table-transformer": {},
    "yolos": {},
}


def torchvision(name: str) -> Loaded:
    torch.manual_seed(0)
    pm = plugins.manager("torchvision")
    return headed(pm, pm.hook.load(name=name, pretrained=False, config={}, task=""), Head(outputs=TASK.outputs))


def transformer(kind: str, **more: Any) -> Loaded:
    transformers = needs("transformers", "transformers")
    from hubft_transformers import detection

    torch.manual_seed(0)
    model = transformers.AutoModelForObjectDetection.from_config(made.config(kind, **more))
    inputs = Images((SIDE, SIDE), (SIDE, SIDE))
    stages = {"all": tuple(name for name, _ in model.named_parameters())}
    return Loaded(model, "", stages, inputs, Base(f"transformers:{kind}"), forward=detection.detections)


def steady(model: nn.Module) -> nn.Module:
    """Have a model draw nothing, and no norm look at a batch."""
    for module in model.train().modules():
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def gradient(loaded: Loaded, cut: tuple[int, ...]) -> tuple[Tensor, Any]:
    """Return the gradient of a batch that is cut at these places, all numbers, and the scalars that it gave."""
    pm, recipe = plugins.manager(loaded.base.reference.partition(":")[0]), Recipe()
    state = loop.start(loaded, recipe, runtime := Runtime(Compute("cpu", workers=0)), TASK)
    steady(loaded.model).zero_grad()
    images, every = torch.rand(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), len(TARGETS)
    parts = [((end - start) / every, (images[start:end], TARGETS[start:end])) for start, end in pairwise(cut)]
    results = Gradient(pm, state, recipe, runtime, lambda inputs: nullcontext(inputs)).backwards(TARGETS, parts)
    scalars = {name: float(value.detach()) for name, value in mean(results).items()}
    found = [p.grad for p in loaded.model.parameters() if p.grad is not None]
    return torch.cat([one.flatten() for one in found]), scalars


def assert_the_same(loaded: Loaded) -> None:
    whole, scalars = gradient(loaded, (0, len(TARGETS)))
    parts, told = gradient(loaded, CUT)
    assert float((parts - whole).norm() / whole.norm()) < 1e-3
    assert told == pytest.approx(scalars, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_each_detector_of_transformers(kind: str) -> None:
    assert_the_same(transformer(kind, **TRANSFORMERS[kind]))


@pytest.mark.parametrize("name", TORCHVISION)
def test_each_detector_of_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faster R-CNN draws from each image: here the first ones, as many as each has."""
    monkeypatch.setattr(torch, "randperm", lambda number, **its: torch.arange(number, device=its.get("device")))
    loaded = torchvision(name)
    for part in ("rpn", "roi_heads"):
        if hasattr(loaded.model, part):
            getattr(loaded.model, part).fg_bg_sampler.batch_size_per_image = 16
    assert_the_same(loaded)


def test_a_part_without_boxes_has_no_noise_to_take_away() -> None:
    """Its terms, which only the other parts have, are those of the others."""
    _, told = gradient(transformer("rt_detr"), CUT)
    _, whole = gradient(transformer("rt_detr"), (0, len(TARGETS)))
    assert told.keys() == whole.keys() and "loss_vfl_dn_0" in told
    still = [name for name in told if name != "loss" and "_dn_" not in name]
    assert [told[name] for name in still] == pytest.approx([whole[name] for name in still], rel=1e-3)


def test_no_loss_waits_for_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of RF-DETR counts the boxes of all of them; they may have fewer parts, and never come to it."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        monkeypatch.setattr(distributed, "all_reduce", pytest.fail)
        gradient(transformer("rf_detr"), CUT)
    finally:
        distributed.destroy_process_group()
