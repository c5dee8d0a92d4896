"""Detectors of torchvision with weights that a test makes, and scenes to train them on."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import scenes
import torch
from extras import needs
from torchvision import models

TINY = "ssdlite320_mobilenet_v3_large"


def weights(name: str, home: Path, patch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Put random weights of a detector into a cache of torch.hub, as its default ones, and return them."""
    from hubft_torchvision import detectors

    patch.setenv("TORCH_HOME", str(home))
    torch.manual_seed(0)
    state = detectors.built(name, 91).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    file = home / "hub" / "checkpoints" / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(buffer.getvalue())
    patch.setattr(models.get_model_weights(name)["DEFAULT"].value, "url", f"https://nowhere.test/{file.name}")
    return state


def table(folder: Path, count: int, seed: int = 0) -> Path:
    """Write so many scenes and a table of their boxes into a folder; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    made = scenes.made(seed, count)
    rows = []
    for place, (scene, cell) in enumerate(zip(made, scenes.cells(made), strict=True)):
        scene.image.save(folder / f"{place}.png")
        rows.append(json.dumps({"image": f"{place}.png", "boxes": cell}))
    (folder / "boxes.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "boxes.jsonl"


def config(kind: str) -> Any:
    """Return the config of a tiny detector of transformers, of ten classes."""
    transformers = needs("transformers", "transformers")
    small = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "layer_type": "basic"}
    sides = {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "d_model": 32,
        "num_queries": 12,
        "num_labels": 10,
    }
    if kind == "yolos":
        its = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        image = {"image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 12}
        return transformers.YolosConfig(**its, **image, num_labels=10)
    levels = ["stage4"] if kind == "detr" else ["stage2", "stage3", "stage4"]
    if kind in ("detr", "deformable_detr"):
        backbone = transformers.ResNetConfig(**small, out_features=levels)
        chosen = transformers.DetrConfig if kind == "detr" else transformers.DeformableDetrConfig
        more = {} if kind == "detr" else {"num_feature_levels": 3}
        return chosen(backbone_config=backbone, use_timm_backbone=False, encoder_layers=1, **sides, **more)
    inside = {"encoder_hidden_dim": 32, "decoder_in_channels": [32] * 3, "num_denoising": 4}
    if kind == "rt_detr_v2":
        backbone = transformers.RTDetrResNetConfig(**small, out_features=levels)
        return transformers.RTDetrV2Config(
            backbone_config=backbone, encoder_in_channels=[16, 24, 32], **inside, **sides
        )
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 24, 32],
        stage_mid_channels=[8] * 4,
        stage_out_channels=[16, 24, 32, 40],
        stage_num_blocks=[1] * 4,
        stage_numb_of_layers=[1] * 4,
        hidden_sizes=[16, 24, 32, 40],
        depths=[1] * 4,
        out_features=levels,
    )
    return transformers.DFineConfig(backbone_config=backbone, encoder_in_channels=[24, 32, 40], **inside, **sides)


def transformer(place: Path, kind: str) -> Path:
    """Return a folder with a tiny detector of transformers, of random weights, for inputs of 64 pixels."""
    transformers = needs("transformers", "transformers")
    torch.manual_seed(0)
    model = transformers.AutoModelForObjectDetection.from_config(config(kind))
    model.save_pretrained(place)
    shortest = {"shortest_edge": 60, "longest_edge": 100}
    name = "YolosImageProcessor" if kind == "yolos" else "DetrImageProcessor"
    sizes = {"height": 64, "width": 64} if kind in ("rt_detr_v2", "d_fine") else shortest
    name = "RTDetrImageProcessor" if kind in ("rt_detr_v2", "d_fine") else name
    (place / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": name, "size": sizes}))
    return place
