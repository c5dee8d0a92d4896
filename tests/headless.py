"""Tiny models of timm without a classifier, in timm's registry: one for each way in which timm pools."""

from typing import Any

from timm.models import ConvNeXt, VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn


def config(classifier: str | None, first: str, side: int) -> dict[str, Any]:
    return {
        "num_classes": 0,
        "classifier": classifier,
        "first_conv": first,
        "input_size": (3, side, side),
        "crop_pct": 1.0,
        "hf_hub_id": "nobody/nothing",
        "license": "cc0-1.0",
    }


VITS: dict[str, dict[str, Any]] = {
    "headless_token": {"global_pool": "token", "reg_tokens": 1},
    "headless_mean": {"global_pool": "avg"},
    "headless_map": {"global_pool": "map", "class_token": False},
}
default_cfgs = generate_default_cfgs(
    {
        **{f"{name}.own": config("head", "patch_embed.proj", 32) for name in VITS},
        "headless_convnet.own": config("head.fc", "stem.0", 64),
        "headless_encoder.own": config(None, "conv", 32),
        "headless_sequence.own": config(None, "conv", 32),
    }
)


class Encoder(nn.Module):
    """As timm's encoders: no place for a head, and no `reset_classifier`."""

    num_classes = 0

    def __init__(self, flat: bool = False, pretrained_cfg: Any = None, **_: Any) -> None:
        super().__init__()
        self.conv, self.block, self.flat = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 12, 3, 1, 1), flat

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.block(self.conv(images).relu())
        return found.flatten(2).mT[:, ::4] if self.flat else found


def vit(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    made: nn.Module = build_model_with_cfg(VisionTransformer, name, pretrained, **{**size, **VITS[name], **options})
    return made


@register_model
def headless_token(pretrained: bool = False, **options: Any) -> nn.Module:
    return vit("headless_token", pretrained, options)


@register_model
def headless_mean(pretrained: bool = False, **options: Any) -> nn.Module:
    return vit("headless_mean", pretrained, options)


@register_model
def headless_map(pretrained: bool = False, **options: Any) -> nn.Module:
    return vit("headless_map", pretrained, options)


@register_model
def headless_convnet(pretrained: bool = False, **options: Any) -> nn.Module:
    size = {"depths": (1, 1, 1, 1), "dims": (4, 8, 12, 16)}
    made: nn.Module = build_model_with_cfg(ConvNeXt, "headless_convnet", pretrained, **{**size, **options})
    return made


@register_model
def headless_encoder(pretrained: bool = False, **options: Any) -> nn.Module:
    made: nn.Module = build_model_with_cfg(Encoder, "headless_encoder", pretrained, **options)
    return made


@register_model
def headless_sequence(pretrained: bool = False, **options: Any) -> nn.Module:
    made: nn.Module = build_model_with_cfg(Encoder, "headless_sequence", pretrained, flat=True, **options)
    return made
