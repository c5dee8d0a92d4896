"""Pruning holds in every family, for tied tensors, for attention and beside deltas; or is refused before training."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import nets
import packages
import pictures
import pytest
import torch
from commands import Hubft
from extras import needs
from runs import heard, job
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer

from hubft import Head, Job, engine
from hubft.base.errors import JobError
from hubft.compress import ties, widths
from hubft.compress.bounded import bounded
from hubft.families import plugins
from hubft.families.build import build, compressed
from hubft.publish import package
from hubft.share import load

needs("torch_pruning", "prune")
ROOT = plugins.ROOT


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.checkout(tmp_path_factory.mktemp("nets"))


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=12, val=6)


def asked(data: Path, output: Path, reference: str, compress: str = "prune:0.5", **parts: object) -> Job:
    return replace(job(data, output, compress=compress, size=32, **parts), reference=reference)


# ---- a repository of torch.hub -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["small", "backwards"])
def test_a_model_of_a_repository_is_pruned_and_loads_through_torch_hub(
    checkout: Path, insects: Path, tmp_path: Path, entry: str
) -> None:
    result = engine.finetune(asked(insects, tmp_path / "run", f"hub:{checkout}:{entry}"))
    model = load.load(result.run.folder, prove=True, trust=True)
    again = torch.hub.load(str(ROOT), "finetuned", str(result.run.package), source="local", trust=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), again(images)) and again(images).shape == (2, 3)
    assert {m.out_channels for m in again.modules() if isinstance(m, nn.Conv2d)} == {8}
    further = asked(insects, tmp_path / "b", f"package:{result.run.folder}", "int8", package="delta")
    further = replace(further, recipe=replace(further.recipe, train="head"))
    delta = engine.finetune(further, trust=True).run
    assert load.load(delta.folder, prove=True, trust=True).get_parameter(f"{loaded_head(entry)}.weight").shape == (3, 8)
    assert json.loads((delta.package / "hubft.json").read_text())["delta"]


def loaded_head(entry: str) -> str:
    return {"small": "head", "backwards": "out"}[entry]


# ---- tied tensors --------------------------------------------------------------------------------------------------


def test_tied_tensors_stay_tied(checkout: Path, insects: Path, tmp_path: Path) -> None:
    result = engine.finetune(asked(insects, tmp_path / "run", f"hub:{checkout}:tied", "prune:0.5,int8"))
    model = load.load(result.run.folder, prove=True, trust=True)
    assert model.second.weight is model.first.weight and model.first.weight.shape == (16, 16)
    assert model.again.weight is model.conv.weight and model.again.bias is model.conv.bias
    assert ties.found(model) == {"second.weight": "first.weight", "again.weight": "conv.weight",
                                 "again.bias": "conv.bias"}  # fmt: skip


def test_tied_tensors_that_lose_other_channels_each_are_refused(checkout: Path, insects: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"twisted cannot be pruned: first\.weight and second\.weight are one tensor"):
        engine.finetune(asked(insects, tmp_path / "run", f"hub:{checkout}:twisted"))
    assert not (tmp_path / "run").exists()


# ---- a delta -------------------------------------------------------------------------------------------------------


def test_a_delta_of_a_pruned_model_is_refused_before_the_training(
    checkout: Path, insects: Path, tmp_path: Path
) -> None:
    wanted = r"^package delta shares nothing with compress prune:0\.5, after which .*: leave package out$"
    with pytest.raises(JobError, match=wanted):
        engine.finetune(asked(insects, tmp_path / "run", f"hub:{checkout}:small", "prune:0.5,int8", package="delta"))
    assert not (tmp_path / "run").exists()


# ---- attention, and what is left alone -----------------------------------------------------------------------------


def test_the_attention_of_torch_gets_narrower_in_every_head() -> None:
    loaded = build(plugins.manager("torchvision"), Job("torchvision:resnet18", "d", head=Head(outputs=3)), False)
    vit = VisionTransformer(32, 8, num_layers=2, num_heads=4, hidden_dim=128, mlp_dim=64, num_classes=3)
    nn.init.normal_(vit.heads.head.weight)
    with torch.no_grad():
        vit.encoder.pos_embedding.copy_(torch.arange(128.0).expand(1, 17, 128))  # tells which channels are left
        for weight in (vit.conv_proj.weight, *(block.mlp[3].weight for block in vit.encoder.layers)):
            weight[:32] = 0  # the channels of the first head, which would all go without a limit
    stages = {"stem": ("class_token", "conv_proj"), "encoder": ("encoder",), "head": ("heads.head",)}
    loaded = replace(loaded, model=vit, head="heads.head", stages=stages)
    whole = replace(loaded, model=copy.deepcopy(vit))
    images = torch.randn(2, 3, 32, 32)
    made = compressed(plugins.manager("torchvision"), loaded, "prune:0.5", [(images, torch.zeros(2))])
    attention = made.model.encoder.layers[1].self_attention
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (64, 4, 16)
    assert attention.in_proj_weight.shape == (192, 64) and made.model.encoder.pos_embedding.shape == (1, 17, 64)
    left = made.model.encoder.pos_embedding[0, 0] // 32
    assert left.tolist() == 16 * [0.0] + 16 * [1.0] + 16 * [2.0] + 16 * [3.0]
    (record,) = made.structure
    assert record["modules"]["encoder.layers.encoder_layer_1.self_attention"] == {"embed_dim": 64}
    widths.give(whole, record)
    whole.model.load_state_dict(made.model.state_dict())
    with torch.no_grad():
        assert torch.equal(whole.model.eval()(images), made.model.eval()(images))
    assert not made.note


class Borrowed(nn.Module):
    """Takes the weight of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 16, 3, 4), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images).relu().mean((2, 3))
        outputs: Tensor = self.head(functional.linear(features, self.mix.weight))
        return outputs


def test_a_layer_that_no_call_shows_is_refused() -> None:
    pm = plugins.manager("torchvision")
    loaded = build(pm, Job("torchvision:resnet18", "d", head=Head(outputs=3)), False)
    stages = {"stem": ("stem", "mix"), "head": ("head",)}
    loaded = replace(loaded, model=Borrowed(), head="head", stages=stages)
    with pytest.raises(JobError, match=r"the weight of mix is used without a call of it"):
        compressed(pm, loaded, "prune:0.5", [(torch.randn(2, 3, 32, 32), torch.zeros(2))])


def test_a_graph_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    asked = Job("timm:resnest14d.gluon_in1k", "d", head=Head(outputs=3), compress="prune:0.5", size=64)
    with pytest.raises(JobError, match=r"follows \d+ channels through a reshape, where no layer has more than 2048"):
        packages.write(tmp_path / "p", asked, pretrained=False)
    index_mapping = pytest.importorskip("torch_pruning.dependency.index_mapping")
    index = pytest.importorskip("torch_pruning._helpers")._HybridIndex(0, 0)
    flattening = index_mapping._FlattenIndexMapping(stride=17)
    with bounded(Borrowed()), pytest.raises(ValueError, match="17 channels"):
        flattening([index])
    assert len(flattening([index])) == 17  # the bound is gone with the block


def test_a_run_says_what_pruning_leaves_as_it_is(checkout: Path, insects: Path, tmp_path: Path) -> None:
    """Of `backwards` a layer is never used, and of 8 channels none can go."""
    _, console = heard(asked(insects, tmp_path / "run", f"hub:{checkout}:backwards"))
    left = "Torch-Pruning leaves 2 of its 3 layers as they are, the first spare"
    assert console.about("note: prune") == [
        f"note: prune:0.5 takes 28% of the channels out of hub:{checkout}:backwards: {left}"
    ]
    assert console.lines.index(console.about("note: prune")[0]) < console.lines.index(console.about("tuned")[0])
    (changed,) = console.about("changed")
    assert changed.startswith("changed  Channels were taken out of it (28% of them, and ")


def test_card_and_show_say_how_much_was_taken_out(tmp_path: Path, hubft: Hubft) -> None:
    asked = Job("torchvision:resnet18", "d", head=Head(outputs=3), compress="prune:0.5")
    small = packages.write(tmp_path / "p", asked, pretrained=False)
    words = "Channels were taken out of it (50% of them, and 75% of the parameters, the head not counted)"
    assert sum(p.numel() for p in small.layer1[0].conv1.parameters()) == 32 * 32 * 9
    assert f"{words}, so its library alone does not load it" in (tmp_path / "p" / package.CARD).read_text()
    assert ["structure", words] in hubft("show", tmp_path / "p").cells()
    packages.write(tmp_path / "full", replace(asked, compress="none"), pretrained=False)
    assert "structure" not in hubft("show", tmp_path / "full").out
