"""Detectors of the family `transformers`: tiny ones of random weights, from their folders to packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import detectors as made
import pytest
import torch
from extras import needs
from runs import killed

from hubft import Job, engine
from hubft.base.digest import of_file
from hubft.base.errors import FamilyError, JobError
from hubft.families import build, plugins, stages
from hubft.families.plugins import ROOT
from hubft.job import Compute, Head, Recipe
from hubft.share import load

transformers = needs("transformers", "transformers")
needs("faster_coco_eval", "detection")

KINDS = ("detr", "deformable_detr", "yolos", "rt_detr_v2", "d_fine")
SOFT = ("detr", "yolos")  # have "no object" as a class


def loaded(place: Path, **options: Any) -> Any:
    job = Job(f"transformers:{place}", "-", **options)
    return build.load_base(plugins.manager("transformers"), job, pretrained=True, task="boxes")


@pytest.mark.parametrize("kind", KINDS)
def test_what_says_the_class_is_fresh_and_all_else_is_kept(tmp_path: Path, kind: str) -> None:
    found = loaded(made.transformer(tmp_path, kind))
    assert found.images.size == (64, 64)
    assert found.images.crop == ("squash" if kind in ("rt_detr_v2", "d_fine") else "border")
    before = {name: tensor.clone() for name, tensor in found.model.state_dict().items()}
    pm, job = plugins.manager("transformers"), Job("transformers:x", "-", head=Head(outputs=3))
    adapted = build.adapt(pm, job, found)
    after = adapted.model.state_dict()
    changed = [name for name in after if before[name].shape != after[name].shape]
    assert changed and all(
        torch.equal(before[name], after[name]) or any(stages.under(name, head) for head in found.stages["head"])
        for name in after
        if name not in changed
    )
    assert {n for n, _ in adapted.model.named_parameters() if n in changed} <= {
        n for n, stage in stages.stage_of(adapted).items() if stage == "head"
    }
    model = adapted.model.eval()
    with torch.no_grad():
        said = adapted.forward(model, torch.randn(2, 3, 64, 64))
    assert said.shape == (2, 12, 6) and torch.equal(said[:, :, 4], said[:, :, 4].sort(1, descending=True).values)
    assert set(said[:, :, 5].unique().tolist()) <= {0.0, 1.0, 2.0} and said[:, :, 4].min() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_those_that_the_processor_gives(tmp_path: Path, kind: str) -> None:
    found = loaded(made.transformer(tmp_path, kind))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    pixels, model = torch.randn(2, 3, 64, 64), found.model.eval()
    with torch.no_grad():
        ours, theirs = found.forward(model, pixels), model(pixel_values=pixels)
    sizes = torch.tensor([[64, 64], [64, 64]])
    if kind == "deformable_detr":
        processor = transformers.DeformableDetrImageProcessor()
    many = {"top_k": 12} if kind == "deformable_detr" else {}
    for one, its in zip(ours, processor.post_process_object_detection(theirs, 0.0, sizes, **many), strict=True):
        order = its["scores"].argsort(descending=True, stable=True)[: len(one)]
        torch.testing.assert_close(one[:, 4], its["scores"][order])
        torch.testing.assert_close(one[:, :4], its["boxes"][order])
        assert torch.equal(one[:, 5].long(), its["labels"][order])


def job(model: Path, table: Path, output: Path, **compute: Any) -> Job:
    recipe = Recipe(epochs=5, lr=0.002, batch_size=4, train="all", augment="none")
    fixed = {"precision": "fp32", "memory_format": "contiguous", "compile": "off"}
    places = Compute("cpu", workers=0, threads=1, **fixed, **compute)
    return Job(f"transformers:{model}", table, recipe=recipe, compute=places, output=output)


@pytest.fixture(scope="module", params=["detr", "rt_detr_v2"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, engine.Result]:
    place = tmp_path_factory.mktemp("detector")
    model, table = made.transformer(place / "model", request.param), made.table(place / "scenes", 24)
    return model, table, engine.finetune(job(model, table, place / "run"))


ASK = """
import torch
from PIL import Image
model = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
image = Image.open({image!r}).convert("RGB")
pixels = model.preprocess(image)[None]
from transformers import AutoModelForObjectDetection, pipeline
theirs = AutoModelForObjectDetection.from_pretrained({package!r}).eval()
with torch.no_grad():
    one, other = model(pixel_values=pixels), theirs(pixel_values=pixels)
assert torch.equal(one.logits, other.logits) and torch.equal(one.pred_boxes, other.pred_boxes)
said = pipeline("object-detection", {package!r})(image, threshold=0.0)
assert said and {{one["label"] for one in said}} <= {{"disc", "square", "triangle"}}
print("the same:", len(said))
"""


def test_it_is_trained_and_its_package_loads_by_transformers_alone(
    run: tuple[Path, Path, engine.Result], tmp_path: Path
) -> None:
    _, table, result = run
    first, *_, last = result.run.history()
    assert last["loss"] < first["loss"] and "loss_giou" in last and result.metrics.headline == "map"
    load.load(result.run.package, prove=True)
    code = ASK.format(root=str(ROOT), package=str(result.run.package), image=str(table.parent / "0.png"))
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.startswith("the same:"), ran.stderr[-2000:]


def test_a_run_that_was_killed_ends_with_the_same_bits(
    run: tuple[Path, Path, engine.Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the model draws noise of its own, as RT-DETR does for its denoising queries."""
    model, table, result = run
    cut = killed(job(model, table, tmp_path / "b", checkpoint_every=4), 10, monkeypatch)
    again = engine.resume(cut.folder)
    weights = "model.safetensors"
    assert of_file(again.run.package / weights) == of_file(result.run.package / weights)


def test_what_has_no_meaning_is_refused_in_a_line(tmp_path: Path) -> None:
    place = made.transformer(tmp_path / "detr", "detr")
    found = loaded(place)
    with pytest.raises(JobError) as caught:
        build.adapt(
            plugins.manager("transformers"), Job("transformers:x", "-", head=Head(outputs=3, hidden=(8,))), found
        )
    assert "--hidden (8,): the head of a detector is its own" in caught.value.typed()
    bert = tmp_path / "bert"
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)
    transformers.BertModel(config).save_pretrained(bert)
    with pytest.raises(FamilyError, match="transformers has not a detector of the type 'bert'"):
        loaded(bert)


def test_nested_configs_are_looked_into(tmp_path: Path) -> None:
    place = made.transformer(tmp_path, "detr")
    stated = json.loads((place / "config.json").read_text())
    for change, said in (
        ({"num_hidden_layers": 10**6}, "num_hidden_layers of 1,000,000"),
        ({"auto_map": {"A": "b"}}, "auto_map"),
    ):
        inner = {**stated["backbone_config"], **change}
        (place / "config.json").write_text(json.dumps({**stated, "backbone_config": inner}))
        with pytest.raises(FamilyError, match=said):
            loaded(place)
