"""The detectors of torchvision: loaded as torchvision loads them, given other classes, trained by their own losses."""

from pathlib import Path
from typing import Any

import _hubft_torchvision_detectors as detectors
import _hubft_torchvision_static as static
import detectors as made
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, get_model_weights
from torchvision.ops import FrozenBatchNorm2d

from hubft import Head
from hubft.base.errors import JobError
from hubft.families import plugins
from hubft.families.build import compressed, headed, unfilled
from hubft.families.stages import stage_of
from hubft.hookspecs import Loaded
from hubft.tasks.boxes import Boxes

TASK = Boxes(("a", "b", "c"))
SMALL = ("ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn")
TARGETS = TASK.collate([((2, 5.0, 5.0, 60.0, 50.0, False), (1, 0.0, 0.0, 9.0, 9.0, True)), ()])


def adapted(name: str, outputs: int = 3) -> Loaded:
    torch.manual_seed(0)
    pm = plugins.manager("torchvision")
    return headed(pm, pm.hook.load(name=name, pretrained=False, config={}), Head(outputs=outputs))


def bare(name: str, outputs: int = 0) -> Loaded:
    """Return a detector whose parameters have no memory, or one that is built whole where it cannot be otherwise."""
    pm = plugins.manager("torchvision")

    def make() -> Loaded:
        loaded: Loaded = pm.hook.load(name=name, pretrained=False, config={})
        return headed(pm, loaded, Head(outputs=outputs)) if outputs else loaded

    return unfilled(make)


def images(size: int = 96) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
def test_torchvision_finds_the_same_boxes_with_its_own_preprocessing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.weights(name, tmp_path, monkeypatch)
    theirs = getattr(detection, name)(weights="DEFAULT").eval()
    loaded = plugins.manager("torchvision").hook.load(name=name, pretrained=True, config={})
    assert {n: type(m) for n, m in loaded.model.named_modules()} == {n: type(m) for n, m in theirs.named_modules()}
    for model in (theirs, loaded.model):  # of random weights no score is high
        part: Any = getattr(model, "roi_heads", model)
        part.score_thresh = 0.0
    size = loaded.images.size
    raw = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (loaded.images.mean, loaded.images.std))
    with torch.no_grad():
        wanted = theirs(list(raw))
        given = loaded.forward(loaded.model.eval(), (raw - mean) / std)
    for row, found in zip(given, wanted, strict=True):
        number = len(found["boxes"])
        assert number, "nothing is found, which tells nothing"
        assert torch.allclose(row[:number, :4], found["boxes"], atol=1e-3)
        assert torch.allclose(row[:number, 4], found["scores"], atol=1e-5)
        assert torch.equal(row[:number, 5].long(), found["labels"] - 1) and not row[number:].any()


@pytest.mark.parametrize("name", detectors.FROZEN)
def test_what_is_built_without_weights_has_the_frozen_norms_of_what_has_them(name: str) -> None:
    loaded = bare(name)
    kinds = {type(m).__name__ for m in loaded.model.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {"FrozenBatchNorm2d"}
    epsilons = {m.eps for m in loaded.model.modules() if isinstance(m, FrozenBatchNorm2d)}
    assert epsilons == {detectors.FROZEN[name]}


@pytest.mark.parametrize("name", detectors.names())
def test_every_detector_gets_fresh_classes_and_keeps_its_boxes(name: str) -> None:
    loaded = bare(name)
    before = {n: p.shape for n, p in loaded.model.named_parameters()}
    head = list(loaded.stages)[-1]
    assert head == "head" and {stage_of(loaded)[n] for n in before if n.startswith(loaded.head)} == {"head"}
    sigmoid = detectors._first(loaded.model) == 0
    other = bare(name, 3)
    after = {n: p.shape for n, p in other.model.named_parameters()}
    changed = {n for n in after if after[n] != before[n]}
    assert changed and before.keys() == after.keys()
    assert {stage_of(other)[n] for n in changed} == {"head"}
    classes = 3 if sigmoid else 4
    if "roi_heads.box_predictor.cls_score.weight" in after:
        assert after["roi_heads.box_predictor.bbox_pred.weight"][0] == 4 * classes
    for n in changed:
        old = len(get_model_weights(name)["DEFAULT"].meta["categories"])
        assert after[n][0] * old == before[n][0] * classes, n


def test_faster_rcnn_places_new_classes_as_the_mean_of_the_old_ones() -> None:
    torch.manual_seed(0)
    pm = plugins.manager("torchvision")
    loaded = pm.hook.load(name=SMALL[1], pretrained=False, config={})
    model: Any = loaded.model
    old = model.roi_heads.box_predictor.bbox_pred.weight.detach().clone()
    headed(pm, loaded, Head(outputs=2))
    new = model.roi_heads.box_predictor.bbox_pred.weight.detach()
    assert torch.allclose(new.view(3, 4, -1), old.view(91, 4, -1)[1:].mean(0).expand(3, 4, -1), atol=1e-6)


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_a_sigmoid_starts_with_its_prior(name: str) -> None:
    model: Any = adapted(name).model
    bias = model.head.classification_head.cls_logits.bias
    assert torch.allclose(bias.sigmoid(), torch.full_like(bias, 0.01))


@pytest.mark.parametrize("name", [*SMALL, "retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_a_step_has_the_models_own_losses_and_evaluation_has_boxes(name: str) -> None:
    loaded, pm = adapted(name), plugins.manager("torchvision")
    step = {"batch": (images(), TARGETS), "criterion": TASK.criterion(), "forward": loaded.forward}
    result = pm.hook.train_step(model=loaded.model.train(), **step)
    parts = {n: v for n, v in result.items() if n not in ("loss", "outputs")}
    assert len(parts) >= 2 and result["loss"].item() == pytest.approx(sum(float(v) for v in parts.values()), rel=1e-5)
    result["loss"].backward()
    head = loaded.stages["head"]
    grads = [p.grad for n, p in loaded.model.named_parameters() if n.startswith(head)]
    assert grads and any(g is not None and g.abs().sum() > 0 for g in grads)
    with torch.no_grad():
        found = pm.hook.train_step(model=loaded.model.eval(), **step)
    assert found["outputs"].shape[::2] == (2, 6) and 0 <= float(found["loss"]) <= 1
    scores, classes = found["outputs"][..., 4], found["outputs"][..., 5]
    assert torch.equal(scores, scores.sort(1, descending=True)[0]) and set(classes.unique().tolist()) <= {0, 1, 2}
    measured = pm.hook.train_step(model=loaded.model.eval(), **step)  # as steps are timed
    assert measured["loss"].requires_grad and not any(m.training for m in loaded.model.modules())


def test_targets_are_boxes_without_crowds_and_classes_behind_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, seen = adapted(SMALL[0]), []
    kept = type(loaded.model).forward

    def forward(self: nn.Module, images: list[Tensor], targets: Any = None) -> Any:
        seen.append(targets)
        return kept(self, images, targets)

    monkeypatch.setattr(type(loaded.model), "forward", forward)
    detectors.losses(loaded.model.train(), images(), TARGETS)
    assert [one["labels"].tolist() for one in seen[0]] == [[3], []]
    assert [one["boxes"].tolist() for one in seen[0]] == [[[5, 5, 60, 50]], []]


@pytest.mark.parametrize("name", SMALL)
def test_any_size_is_taken_as_it_is(name: str) -> None:
    loaded = adapted(name)
    with torch.no_grad():
        for size in (64, 128):
            given = loaded.forward(loaded.model.eval(), images(size))
            assert 0 < given[..., :4].max() <= size


def test_heads_that_a_detector_has_no_place_for_are_refused() -> None:
    for head in (Head(outputs=2, hidden=(8,)), Head(outputs=2, dropout=0.1)):
        with pytest.raises(JobError, match="the head of a detector is its own"):
            headed(plugins.manager("torchvision"), bare(SMALL[0]), head)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_what_exporters_get_gives_the_same_boxes(name: str) -> None:
    loaded = adapted(name)
    model: Any = loaded.model.eval()
    model.score_thresh = 0.0005  # of random weights no score is high
    with torch.no_grad():
        wanted, given = loaded.forward(model, images(70)), static.detections(model, images(70))
        alone = torch.cat([static.detections(model, one[None]) for one in images(70)])
    assert wanted.shape == given.shape and (wanted[..., 4] > 0).sum() > 50
    assert TASK.apart(given, wanted, 70.0) < 1e-5
    assert TASK.apart(given, alone, 70.0) < 1e-5, "images do not depend on each other"


def test_a_detector_is_not_pruned() -> None:
    loaded, pm = adapted(SMALL[0]), plugins.manager("torchvision")
    with pytest.raises(JobError, match=r"prune:0.5: .* is a detector, which cannot be pruned"):
        compressed(pm, loaded, "prune:0.5", [])
