"""What was fine-tuned from timm's models is loaded by timm itself, bit for bit, where there is no hubft."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import packages
import pictures
import pytest
import timm
import timm.data
import torch
from loopback.hub import Hub, serving
from nets import made_up_weights
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from hubft import Head, Job, Preprocess, engine
from hubft.families import stated
from hubft.job import Compute, Recipe
from hubft.publish import package
from hubft.share import load

CLASSES = ("ants", "bees: --- # |", "ワスプ")  # label_names are data
JOBS = {
    "convnet": Job("timm:test_efficientnet.r160_in1k", "d"),
    "bf16": Job("timm:test_efficientnet.r160_in1k", "d", compress="bf16"),
    "size": Job("timm:test_efficientnet.r160_in1k", "d", size=76),
    "wheel": Job("pip:efficientnet_lite0", "d", size=64),
    "vit": Job("timm:test_vit.r160_in1k", "d"),
    "two-heads": Job("timm:deit_tiny_distilled_patch16_224.fb_in1k", "d"),
    "convolution-head": Job("timm:dla46_c.in1k", "d"),
}
WITHOUT_HUBFT = """
import json, sys
sys.modules["hubft"] = None
import timm, timm.data, torch
from PIL import Image
from safetensors.torch import save_file
torch.set_num_threads(1)
found = {}
for name in sys.argv[3:]:
    model = timm.create_model(f"hf-hub:me/{name}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    inputs = transform(Image.open(sys.argv[1]))[None]
    with torch.inference_mode():
        found |= {f"{name} inputs": inputs, f"{name} logits": model(inputs)}
    print(json.dumps(model.pretrained_cfg["label_names"]))
save_file(found, sys.argv[2])
"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A photograph's worth of noise, larger than every input and of odd sides."""
    noise = numpy.random.default_rng(3).integers(0, 256, (301, 413, 3), numpy.uint8)
    Image.fromarray(noise).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def seen_by_hubft(folder: Path, picture: Path) -> tuple[Tensor, Tensor]:
    """Return the inputs made of the picture, and the logits."""
    model: Any = load.load(folder)
    with Image.open(picture) as image, torch.inference_mode():
        inputs = model.preprocess(image)[None]
        return inputs, model(inputs)


def run(job: Job, folder: Path) -> Path:
    """Return the package of a run of one epoch."""
    data = pictures.folder(folder / "data", CLASSES, 2, 1)
    recipe = Recipe("head", epochs=1, lr=0.1)
    job = replace(job, data=str(data), recipe=recipe, compute=Compute("cpu", workers=0), output=str(folder / "run"))
    return engine.finetune(job).run.package


@pytest.mark.parametrize("kind", JOBS)
def test_a_run_s_package_is_loaded_by_timm(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made_up_weights(monkeypatch, tmp_path)
    folder = run(JOBS[kind], tmp_path)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    inputs, logits = seen_by_hubft(folder, picture)
    with Image.open(picture) as image, torch.inference_mode():
        assert torch.equal(transform(image)[None], inputs)
        assert torch.equal(model(inputs), logits)
    assert logits.unique().numel() == len(CLASSES), "outputs that tell of nothing are easily equal"
    assert list(model.pretrained_cfg["label_names"]) == list(CLASSES) and model.num_classes == len(CLASSES)
    if JOBS[kind].size:
        assert inputs.shape == (1, 3, JOBS[kind].size, JOBS[kind].size)


def test_from_the_hub_timm_needs_no_hubft(tmp_path: Path, picture: Path) -> None:
    expected = {}
    hub = Hub()
    kinds = [kind for kind, job in JOBS.items() if job.family == "timm" and kind != "convnet"]
    for kind in kinds:
        folder = tmp_path / kind
        packages.write(folder, JOBS[kind].with_outputs(len(CLASSES)), CLASSES, pretrained=False)
        hub.commit(f"me/{kind}", folder)
        expected[f"{kind} inputs"], expected[f"{kind} logits"] = seen_by_hubft(folder, picture)
    with serving(hub):
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", WITHOUT_HUBFT, picture, tmp_path / "seen.safetensors", *kinds]
        done = subprocess.run(command, env=os.environ | environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = load_file(tmp_path / "seen.safetensors")
    assert seen.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(seen[name], tensor)] == []
    assert [json.loads(line) for line in done.stdout.splitlines()] == [list(CLASSES)] * len(kinds)


@pytest.mark.parametrize("change", [{"head": Head(hidden=(8,))}, {"head": Head(dropout=0.1)}, {"package": "delta"}])
def test_what_timm_could_not_build_has_no_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    made_up_weights(monkeypatch, tmp_path)
    folder = run(replace(JOBS["convnet"], **change), tmp_path)
    assert not (folder / package.CONFIG).exists() and (folder / package.PICTURE).exists()
    assert "timm.create_model" not in (folder / package.CARD).read_text(encoding="utf-8")


def test_timm_resizes_to_the_same_pixel() -> None:
    """It divides the input's side by a share and rounds down: for some pairs the plain quotient loses a pixel."""
    for side in range(16, 400, 3):
        for resize in range(side, 2 * side):
            asked = Preprocess((side, side), resize)
            config = stated.config_of_preprocess(asked)
            assert math.floor(side / config["crop_pct"]) == resize
    assert stated.preprocess_of_config(config) == asked
