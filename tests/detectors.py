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


LEVELS = [16, 24, 32]


def config(kind: str, **more: Any) -> Any:
    """Return the config of a tiny detector of transformers, of ten classes.

    :param more: fields of it.
    """
    transformers = needs("transformers", "transformers")
    small = {"embedding_size": 8, "hidden_sizes": [8, *LEVELS], "depths": [1] * 4, "layer_type": "basic"}
    vit = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16}
    decoder = {"decoder_ffn_dim": 32, "decoder_layers": 2, "d_model": 32, "num_queries": 12, "num_labels": 10, **more}
    sides = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, **decoder}
    named = transformers.CONFIG_MAPPING[kind]
    if kind == "yolos":
        image = {"image_size": [64, 64], "num_detection_tokens": 12}
        return named(**vit, **image, intermediate_size=32, num_labels=10, **more)
    if kind in ("lw_detr", "rf_detr"):
        heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "group_detr": 3}
        if kind == "rf_detr":
            stages = {"out_features": ["stage1", "stage2"], "num_windows": 2, "image_size": 64}
            return named(backbone_config=transformers.RfDetrDinov2Config(**vit, **stages), **heads, **decoder)
        sizes = {"image_size": 64, "pretrain_image_size": 64, "window_block_indices": [0], "num_windows": 4}
        backbone = transformers.LwDetrViTConfig(**vit, **sizes, out_indices=[1, 2])
        return named(backbone_config=backbone, projector_scale_factors=[1.0], **heads, **decoder)
    inside = {"encoder_hidden_dim": 32, "decoder_in_channels": [32] * 3, "num_denoising": 4, **sides}
    if kind in ("rt_detr", "rt_detr_v2"):
        backbone = transformers.RTDetrResNetConfig(**small, out_features=["stage2", "stage3", "stage4"])
        return named(backbone_config=backbone, encoder_in_channels=LEVELS, **inside)
    if kind in ("d_fine", "deimv2"):
        return named(backbone_config=_hgnet(transformers), encoder_in_channels=[24, 32, 40], **inside)
    levels = ["stage4"]
    if kind == "deformable_detr":
        levels, sides["num_feature_levels"] = ["stage2", "stage3", "stage4"], 3
    backbone = transformers.ResNetConfig(**small, out_features=levels)
    if kind == "dab-detr":
        sides["hidden_size"] = sides.pop("d_model")
    return named(backbone_config=backbone, use_timm_backbone=False, encoder_layers=1, **sides)


def _hgnet(transformers: Any) -> Any:
    return transformers.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 24, 32],
        stage_mid_channels=[8] * 4,
        stage_out_channels=[16, 24, 32, 40],
        stage_num_blocks=[1] * 4,
        stage_numb_of_layers=[1] * 4,
        hidden_sizes=[16, 24, 32, 40],
        depths=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
    )


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
