"""Image models of the family `transformers`: tiny ones of random weights, from their folders to packages."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pictures
import pytest
import texts
import torch
from extras import needs

from hubft import Job, engine
from hubft.base.errors import FamilyError, JobError
from hubft.families import plugins, stages
from hubft.families.build import load_base
from hubft.families.plugins import ROOT
from hubft.job import Recipe
from hubft.share import load

transformers = needs("transformers", "transformers")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def vit(folder: Path, **processor: Any) -> Path:
    """Return a folder with a ViT of 32 pixels, without a head."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, initializer_range=0.2, **SIZES)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    stated = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    return folder


def loaded(folder: Path, size: int = 0) -> Any:
    return load_base(plugins.manager("transformers"), Job(f"transformers:{folder}", "-", size=size), pretrained=True)


ASK = """
import sys, torch
from PIL import Image
model = torch.hub.load({root!r}, "finetuned", {package!r}, source="local")
image = Image.open({image!r}).convert("RGB")
ours = model(model.preprocess(image)[None]).logits
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
theirs = AutoModelForImageClassification.from_pretrained({package!r}).eval()
assert torch.equal(theirs(model.preprocess(image)[None]).logits, ours)
pixels = AutoImageProcessor.from_pretrained({package!r})(image, return_tensors="pt")["pixel_values"]
assert (pixels - model.preprocess(image)).abs().max() < 0.02, (pixels - model.preprocess(image)).abs().max()
said = pipeline("image-classification", {package!r})(image)[0]
assert said["label"] == model.hubft["classes"][int(ours.argmax())]
print("the same:", said["label"])
"""


def test_a_vit_is_tuned_and_its_package_loads_by_transformers_alone(tmp_path: Path) -> None:
    data = pictures.folder(tmp_path / "data")
    job = Job(
        f"transformers:{vit(tmp_path / 'vit')}",
        data,
        recipe=Recipe(epochs=2, batch_size=12, lr=3e-3),
        output=tmp_path / "run",
    )
    run = engine.finetune(job).run
    load.load(run.package, prove=True)
    stated = json.loads((run.package / "hubft.json").read_text())
    assert stated["inputs"]["kind"] == "images" and stated["inputs"]["size"] == [32, 32]
    assert stated["inputs"]["mean"] == [0.5, 0.5, 0.5]
    image = data / "val" / "ants" / "0.png"
    code = ASK.format(root=str(ROOT), package=str(run.package), image=str(image))
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.startswith("the same:"), ran.stderr[-2000:]


def families() -> dict[str, Any]:
    side = {"image_size": 32, "patch_size": 8}
    small = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "patch_size": 2}
    return {
        "dinov2": (transformers.Dinov2Model, transformers.Dinov2Config(**side, **SIZES)),
        "convnext": (
            transformers.ConvNextModel,
            transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1]),
        ),
        "swin": (transformers.SwinModel, transformers.SwinConfig(**small)),
    }


@pytest.mark.parametrize("kind", ["dinov2", "convnext", "swin"])
def test_backbones_of_each_kind_give_stages_and_a_fresh_head(tmp_path: Path, kind: str) -> None:
    model, config = families()[kind]
    model(config).save_pretrained(tmp_path)
    stated = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    found = loaded(tmp_path)
    assert found.head == "classifier" and list(found.stages)[-1] == "head"
    assert len(found.stages) > 3 and set(stages.stage_of(found).values()) == set(found.stages)
    assert found.forward(found.model.eval(), torch.zeros(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize(
    ("processor", "wanted"),
    [
        ({"size": {"height": 48, "width": 40}}, ((48, 40), (48, 40), "squash")),
        (
            {
                "image_processor_type": "BitImageProcessor",
                "size": {"shortest_edge": 40},
                "crop_size": {"height": 32, "width": 32},
            },
            ((32, 32), 40, "center"),
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8},
            ((32, 32), 40, "center"),
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
            ((384, 384), (384, 384), "squash"),
        ),
    ],
)
def test_what_a_processor_does_is_what_hubft_does(tmp_path: Path, processor: Any, wanted: Any) -> None:
    found = loaded(vit(tmp_path, **processor)).images
    assert (found.size, found.resize, found.crop) == wanted
    image = pictures.noise(3, 100, 120)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt")["pixel_values"][0]
    from hubft import modality

    ours = modality.of(found).transform(found)(image)
    assert theirs.shape == ours.shape and (theirs - ours).abs().max() < 0.02


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        ({"do_rescale": False}, "asks for pixels that are not scaled"),
        ({"rescale_factor": 1 / 127.5}, "asks for pixels that are not scaled"),
        ({"image_processor_type": "MineProcessor"}, "preprocessor_config.json cannot be used"),
        ({"size": {"height": 0, "width": 0}}, "must lie in 1..8192"),
    ],
)
def test_a_processor_that_will_not_do_is_refused(tmp_path: Path, processor: Any, said: str) -> None:
    with pytest.raises(FamilyError, match=said):
        loaded(vit(tmp_path, **processor))


def test_a_model_without_its_processor_or_at_a_size_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = vit(tmp_path / "vit")
    with pytest.raises(JobError) as caught:
        loaded(folder, size=40)
    assert "--size 40: transformers:" in caught.value.typed() and "images of 32 x 32 alone" in caught.value.typed()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(FamilyError, match="has no preprocessor_config"):
        loaded(folder)


def test_the_data_says_whether_a_table_holds_texts_or_images(tmp_path: Path) -> None:
    """Of a family whose models take either; a model that takes the other is told of it in a line."""
    pictures.fill(tmp_path, range(8))
    rows = [f"{i}.png,{'xy'[i % 2]}" for i in range(8)]
    (tmp_path / "images.csv").write_text("\n".join(["file,label", *rows]))
    tiny = texts.model(tmp_path / "bert")
    with pytest.raises(JobError, match=r"takes texts of 32 tokens at most, and .*images\.csv' was read as images"):
        engine.finetune(Job(f"transformers:{tiny}", tmp_path / "images.csv", output=tmp_path / "run"))
    table = texts.table(tmp_path / "texts.csv", 20)
    with pytest.raises(JobError, match=r"takes images of 32 x 32, and .*texts\.csv' was read as text"):
        engine.finetune(Job(f"transformers:{vit(tmp_path / 'vit')}", table, output=tmp_path / "run"))
