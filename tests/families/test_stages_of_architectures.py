"""Stages of the architectures of torchvision and timm, against what a recorded forward pass enters.

Nothing is downloaded and hardly anything allocated: models are built and run on the meta device.
"""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call

from hubft import Head, Loaded
from hubft.families import plugins
from hubft.families.build import headed, unfilled
from hubft.families.stages import stage_of, under

TORCHVISION = """
    alexnet convnext_small convnext_tiny densenet121 densenet161 efficientnet_b0 efficientnet_b3 efficientnet_v2_s
    googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small
    regnet_x_16gf regnet_x_400mf regnet_y_16gf@IMAGENET1K_SWAG_E2E_V1 regnet_y_1_6gf regnet_y_400mf resnet101 resnet18
    resnet34 resnet50 resnet50@IMAGENET1K_V1 resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x2_0
    squeezenet1_0 squeezenet1_1 swin_s swin_t swin_v2_t vgg11 vgg13_bn vgg16 vgg19_bn vit_b_16
    vit_b_16@IMAGENET1K_SWAG_E2E_V1 vit_b_32 wide_resnet50_2
"""
TIMM = """
    beit_base_patch16_224 caformer_s18 cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 convnext_atto
    crossvit_9_240 csatv2 cspresnet50 darknet53 deit_tiny_distilled_patch16_224 densenet121 dla34 dpn68
    edgenext_xx_small efficientformer_l1 efficientnet_b0 eva02_tiny_patch14_336 fastvit_t8 ghostnet_100 hrnet_w18_small
    inception_next_tiny inception_v3 inception_v4 legacy_seresnet18 levit_128s levit_384_s8 maxvit_tiny_rw_224
    mixer_s16_224 mnasnet_100 mobilenetv2_100 mobilenetv3_small_050 mobilenetv4_conv_small mobilevit_xxs nest_tiny
    nf_regnet_b1 pit_ti_224 pit_ti_distilled_224 poolformer_s12 pvt_v2_b0 rdnet_tiny regnetx_002 regnety_002
    repvgg_a0 resnet18 resnet50 resnetv2_50 resnext50_32x4d selecsls42 semnasnet_075 swin_tiny_patch4_window7_224
    swinv2_tiny_window8_256 test_byobnet tf_efficientnet_lite0 tiny_vit_5m_224 tnt_s_legacy_patch16_224 vgg11 vgg16_bn
    vit_srelpos_small_patch16_224 vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 volo_d1_224 wide_resnet50_2
    xcit_nano_12_p16_224 xception41
"""
MODELS = [(family, name) for family, names in (("torchvision", TORCHVISION), ("timm", TIMM)) for name in names.split()]


def build(family: str, name: str) -> Loaded:
    """Return the model with a head of seven outputs, and no memory for its parameters where that can be."""
    pm = plugins.manager(family)
    loaded = unfilled(lambda: pm.hook.load(name=name, pretrained=False, config={}, task=""))
    adapted: Loaded = headed(pm, loaded, Head(outputs=7))
    return adapted


def entered(loaded: Loaded) -> dict[str, str]:
    """Return the layers as a forward pass enters them, each with its stage; the outputs are checked.

    A module whose parameters lie in several stages (the model itself, with its tokens) is no layer.
    """
    order: dict[str, str] = {}

    def enter(name: str, stage: str, *_: object) -> None:
        order.setdefault(name, stage)

    of = stage_of(loaded)
    for name, module in loaded.model.named_modules():
        stages = {stage for parameter, stage in of.items() if under(parameter, name)} if name else set()
        if len(stages) == 1 and any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(partial(enter, name, *stages))
    meta = {name: t.to("meta") for name, t in [*loaded.model.named_parameters(), *loaded.model.named_buffers()]}
    with torch.no_grad(), torch.device("meta"):
        outputs = functional_call(loaded.model.eval(), meta, torch.empty(2, 3, *loaded.preprocess.size))
    assert outputs.shape == (2, 7)
    return order


@pytest.mark.parametrize(("family", "name"), MODELS)
def test_stages_cover_the_model_in_forward_order_and_end_with_the_head(family: str, name: str) -> None:
    loaded = build(family, name)
    stages = list(loaded.stages)
    of = stage_of(loaded)  # raises where a parameter has no stage, or two
    assert set(of.values()) == set(stages), "a stage without parameters"
    assert len(stages) >= 3 and stages[0] == "stem" and stages[-1] == "head"
    assert loaded.head in loaded.stages["head"]

    order = entered(loaded)
    assert list(dict.fromkeys(order.values())) == stages, "not the order of the forward pass"
    head = [layer for layer, stage in order.items() if stage == "head"]
    assert sorted(head) == sorted(loaded.stages["head"]), "the head is not exactly its layers"
    outputs = [loaded.model.get_submodule(layer) for layer in head]
    assert all(isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == 7 for layer in outputs)
    matrices = [layer for layer in order if any(p.ndim >= 2 for p in loaded.model.get_submodule(layer).parameters())]
    assert matrices[-len(head) :] == head, "something follows the head"


def test_there_are_forty_architectures_of_each_library() -> None:
    assert len(set(TORCHVISION.split())) >= 40 and len(set(TIMM.split())) >= 40


@pytest.mark.parametrize(
    ("family", "name", "wanted"),
    [
        ("torchvision", "resnet18", ["stem", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("timm", "resnet18", ["stem", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("timm", "convnext_atto", ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]),
        ("timm", "poolformer_s12", ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]),
        ("torchvision", "vit_b_32", ["stem", *(f"encoder.layers.encoder_layer_{n}" for n in range(12)), "head"]),
        ("torchvision", "densenet121", ["stem", *(f"features.{kind}{n}" for n in (1, 2, 3) for kind in
                                        ("denseblock", "transition")), "features.denseblock4", "head"]),
    ],
)  # fmt: skip
def test_stages_have_the_names_of_their_modules(family: str, name: str, wanted: list[str]) -> None:
    assert list(build(family, name).stages) == wanted


@pytest.mark.parametrize(
    ("family", "name", "stage", "norm"),
    [
        ("timm", "vit_tiny_patch16_224", "blocks.11", "norm"),
        ("timm", "poolformer_s12", "stages.3", "head.norm"),
        ("torchvision", "swin_t", "features.7", "norm"),
        ("torchvision", "convnext_tiny", "features.7", "classifier.0"),
    ],
)
def test_a_norm_before_the_head_is_in_the_last_stage_before_it(family: str, name: str, stage: str, norm: str) -> None:
    loaded = build(family, name)
    assert list(loaded.stages)[-2] == stage and norm in loaded.stages[stage]


@pytest.mark.parametrize(
    ("name", "table"),
    [("vit_srelpos_small_patch16_224", "shared_rel_pos"), ("vit_small_patch16_rope_mixed_224", "rope")],
)
def test_a_table_of_positions_for_all_blocks_is_in_the_stem(name: str, table: str) -> None:
    assert table in build("timm", name).stages["stem"]


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("levit_128s", ("head.linear", "head_dist.linear")),
        ("levit_384_s8", ("head.linear", "head_dist.linear")),  # timm's configuration names the first only
        ("efficientformer_l1", ("head", "head_dist")),
    ],
)
def test_a_distilled_model_has_two_heads_in_its_last_stage(name: str, heads: tuple[str, ...]) -> None:
    assert build("timm", name).stages["head"] == heads
