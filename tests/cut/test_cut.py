"""Cutting a model: where it is cut, that it then computes the same, what refuses, and that nothing is left behind."""

import copy
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pluggy
import pytest
import torch
from torch import Tensor, nn

from hubft import Base, Head, Loaded, Preprocess, hookimpl
from hubft.cut import cut
from hubft.cut.feed import Cut
from hubft.families import plugins, stages
from hubft.families.build import headed
from hubft.tasks.losses import CrossEntropy

LOSS = CrossEntropy()
STAGES = {"stem": ("stem",), "block": ("block",), "head": ("head",)}


class Net(nn.Module):
    """stem -> block -> head, and a forward pass by the test: `forward(net, images)`."""

    def __init__(self, forward: Callable[["Net", Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.0)
        self.head = nn.Linear(8, 3)
        self.way = forward or plain

    def forward(self, images: Tensor) -> Tensor:
        return self.way(self, images)


def plain(net: Net, images: Tensor) -> Tensor:
    return net.head(net.drop(net.block(net.stem(images)).mean((2, 3))))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def pm() -> pluggy.PluginManager:
    return plugins.manager("toy")


def loaded(model: nn.Module, live: tuple[str, ...] = ("head",), table: dict[str, tuple[str, ...]] = STAGES) -> Loaded:
    """Return a model of which the named stages train, in the modes of training."""
    names = {n for n, _ in model.named_parameters() for stage in live for p in table[stage] if stages.under(n, p)}
    stages.set_trainable(model, frozenset(names))
    stages.train_mode(model)
    return Loaded(model, "head", table, Preprocess(size=(16, 16), resize=16), Base("test:net"))


def live(loaded: Loaded) -> frozenset[str]:
    return frozenset(name for name, p in loaded.model.named_parameters() if p.requires_grad)


def batch(size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, 3, 16, 16, generator=generator), torch.arange(size) % 3


def find(loaded: Loaded) -> Cut | str:
    return cut.find(loaded, live(loaded), batch(2)[0])


def must(loaded: Loaded) -> Cut:
    found = find(loaded)
    assert isinstance(found, Cut), found
    return found


def gradients(model: nn.Module, outputs: Tensor, targets: Tensor) -> list[Tensor]:
    loss = nn.functional.cross_entropy(outputs, targets)
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def traces(model: nn.Module) -> list[dict[str, Any]]:
    """Return what lies on every module, hooks included, so that anything left behind shows."""
    return [{k: copy.copy(v) if isinstance(v, dict) else v for k, v in vars(m).items()} for m in model.modules()]


# --- the same numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trains", "entry"), [(("head",), "head"), (("block", "head"), "block")])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_cut_anywhere_outputs_and_gradients_are_the_same_bits(trains: tuple[str, ...], entry: str, size: int) -> None:
    given = loaded(Net(), trains)
    found, (images, targets) = must(given), batch(size)
    assert found.entry == entry
    outputs = given.model(images)
    with torch.no_grad():
        features = found.features(images)
    assert features.shape == (size, *found.shape) and features.dtype == found.dtype
    with found.feed(features) as blank:
        assert blank.shape == images.shape and not blank.any()
        fed = given.model(blank)
    assert torch.equal(outputs, fed)
    for ours, theirs in zip(
        gradients(given.model, fed, targets), gradients(given.model, outputs, targets), strict=True
    ):
        assert torch.equal(ours, theirs)


REAL = """
    torchvision:resnet18 torchvision:mobilenet_v3_small torchvision:squeezenet1_1 torchvision:densenet121
    torchvision:efficientnet_b0 torchvision:shufflenet_v2_x0_5 torchvision:convnext_tiny torchvision:swin_t
    timm:resnet18 timm:tf_efficientnet_lite0 timm:convnext_atto timm:regnetx_002 timm:mobilenetv4_conv_small timm:dla34
    timm:test_vit timm:test_efficientnet
"""


@pytest.mark.parametrize("reference", REAL.split())
@pytest.mark.parametrize("train", ["head", "head,last:2"])
def test_real_architectures_are_cut_and_compute_the_same_bits(reference: str, train: str) -> None:
    family, _, name = reference.partition(":")
    pm = plugins.manager(family)
    given = headed(pm, pm.hook.load(name=name, pretrained=False, config={}, task=""), Head(outputs=3))
    names = pm.hook.freeze(loaded=given, train=train, progress=0.0)
    stages.set_trainable(given.model, names)
    stages.train_mode(given.model)
    size = given.preprocess.size[0] if name == "test_vit" else 64
    images = torch.randn(3, 3, size, size)
    found = cut.find(given, names, images[:2])
    assert isinstance(found, Cut), found
    assert cut.check(pm, found, LOSS, (images, torch.arange(3)), tolerance=0.0) == ""


@pytest.mark.parametrize("name", ["levit_128s", "deit_tiny_distilled_patch16_224"])
def test_two_heads_on_one_body_are_refused_by_the_check(name: str) -> None:
    pm = plugins.manager("timm")
    given = headed(pm, pm.hook.load(name=name, pretrained=False, config={}, task=""), Head(outputs=3))
    names = pm.hook.freeze(loaded=given, train="head", progress=0.0)
    stages.set_trainable(given.model, names)
    stages.train_mode(given.model)
    images = torch.randn(2, 3, 224, 224)
    found = cut.find(given, names, images)
    assert isinstance(found, Cut) and cut.check(pm, found, LOSS, (images, torch.arange(2)), tolerance=0.05)


# --- nothing of the prefix runs ---------------------------------------------------------------------------------


def test_in_a_feed_no_module_before_the_cut_computes() -> None:
    given = loaded(Net())
    found = must(given)
    ran: list[str] = []
    for name, module in given.model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.no_grad(), found.feed(torch.zeros(2, *found.shape)) as blank:
        given.model(blank)
    assert ran == ["stem", "block", "drop", "head", ""]  # stubs in the place of the containers, none of their layers
    assert set(found.stubs) == {"stem", "block", "drop"}
    ran.clear()
    with torch.no_grad():
        found.features(batch()[0])
    assert "head" not in ran and "stem.0" in ran


def test_a_stub_costs_no_memory_unless_the_model_writes_into_it() -> None:
    def writes(net: Net, images: Tensor) -> Tensor:
        x = net.stem(images)
        x += 1
        return net.head(net.block(x).mean((2, 3)))

    found = must(loaded(Net(writes)))
    (stem,), (block,) = found.stubs["stem"], found.stubs["block"]
    assert stem.written and not block.written
    assert stem.make(5, torch.device("cpu")).is_contiguous()
    assert block.make(5, torch.device("cpu")).untyped_storage().nbytes() == 4
    assert block.make(5, torch.device("cpu")).shape == (5, 8, 8, 8)


# --- where it is cut --------------------------------------------------------------------------------------------


def test_a_dropout_that_acts_lies_after_the_cut(pm: pluggy.PluginManager) -> None:
    net = Net()
    net.drop.p = 0.5
    given = loaded(net)
    found = must(given)
    assert found.entry == "drop"
    assert cut.check(pm, found, LOSS, batch(), 0.0) == ""


def test_a_norm_in_training_mode_lies_after_the_cut_though_it_is_frozen(pm: pluggy.PluginManager) -> None:
    given = loaded(Net())
    given.model.get_submodule("block.1").train()  # as a family's hook may do
    found = must(given)
    assert found.entry == "block.1"
    assert cut.check(pm, found, LOSS, batch(), 0.0) == ""


def test_features_are_of_eval_mode_also_where_functions_drop(pm: pluggy.PluginManager) -> None:
    def drops(net: Net, images: Tensor) -> Tensor:
        return net.head(nn.functional.dropout(net.block(net.stem(images)).mean((2, 3)), 0.5, net.training))

    given = loaded(Net(drops))
    found = must(given)
    images, _ = batch()
    assert torch.equal(found.features(images), found.features(images))
    assert "off by" in cut.check(pm, found, LOSS, batch(), 0.05)


def test_the_entry_may_take_keywords_and_a_table_beside_the_features(pm: pluggy.PluginManager) -> None:
    class Head(nn.Linear):
        def forward(self, table: Tensor, scale: float, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x * table * scale)

    def forward(net: Net, images: Tensor) -> Tensor:
        return net.head(torch.arange(8.0), scale=2.0, x=net.block(net.stem(images)).mean((2, 3)))

    net = Net(forward)
    net.head = Head(8, 3)
    given = loaded(net)
    found = must(given)
    assert found.place == "x"
    assert cut.check(pm, found, LOSS, batch(), 0.0) == ""


def test_a_module_may_give_tuples_and_dicts_of_tensors(pm: pluggy.PluginManager) -> None:
    class Parts(nn.Sequential):
        def forward(self, x: Tensor) -> tuple[dict[str, Tensor], list[int]]:
            return {"x": super().forward(x)}, [7]

    def forward(net: Net, images: Tensor) -> Tensor:
        parts, (seven,) = net.block(net.stem(images))
        assert seven == 7
        return net.head(parts["x"].mean((2, 3)))

    net = Net(forward)
    net.block = Parts(*net.block)
    given = loaded(net)
    assert cut.check(pm, must(given), LOSS, batch(), 0.0) == ""


def test_a_table_that_a_frozen_module_gives_keeps_its_length(pm: pluggy.PluginManager) -> None:
    def forward(net: Net, images: Tensor) -> Tensor:
        table = net.stem[3](torch.arange(5))
        assert len(table) == 5
        return net.head(net.block(net.stem[:3](images)).mean((2, 3)) + table.sum())

    net = Net(forward)
    net.stem.append(nn.Embedding(5, 8))
    given = loaded(net)
    assert must(given).stubs["stem.3"][0].shape == (5, 8)
    assert cut.check(pm, must(given), LOSS, batch(), 0.0) == ""


def test_a_function_that_runs_on_both_sides_stays_real_and_a_stub_gives_its_outputs_call_by_call(
    pm: pluggy.PluginManager,
) -> None:
    def shared(net: Net, images: Tensor) -> Tensor:
        return net.head(net.relu(net.block(net.relu(net.stem(images)))).mean((2, 3)))

    given = loaded(Net(shared), ("block", "head"))
    found = must(given)
    assert set(found.stubs) == {"stem"}
    assert cut.check(pm, found, LOSS, batch(), 0.0) == ""
    given = loaded(Net(shared))
    found = must(given)
    assert [blank.shape for blank in found.stubs["relu"]] == [(2, 8, 8, 8), (2, 8, 8, 8)]
    assert cut.check(pm, found, LOSS, batch(), 0.0) == ""


# --- why it is not cut ------------------------------------------------------------------------------------------


def twice(net: Net, images: Tensor) -> Tensor:
    return net.head(net.block(net.stem(images)).mean((2, 3))) + net.head(net.stem(images).mean((2, 3)))


def again(net: Net, images: Tensor) -> Tensor:
    return net.head(net.block(net.block(net.stem(images))).mean((2, 3)))


def returns(net: Net, images: Tensor) -> Tensor:
    x = net.block(net.stem(images))
    return net.head(x.mean((2, 3))) + net.stem(images).mean()


def several(net: Net, images: Tensor) -> Tensor:
    x = net.block(net.stem(images)).mean((2, 3))
    return net.head(x, x + 1)


def unbatched(net: Net, images: Tensor) -> Tensor:
    return net.head(net.block(net.stem(images)).mean((0, 2, 3))).expand(len(images), -1)


@pytest.mark.parametrize(
    ("forward", "trains", "reason"),
    [
        (plain, ("stem", "block", "head"), "nothing leading is frozen"),
        (twice, ("head",), "head runs 2 times"),
        (again, ("block", "head"), "block runs 2 times"),
        (returns, ("head",), "stem runs before and after the cut"),
        (unbatched, ("head",), "the input of head has no row for each sample"),
        (several, ("head",), "head is given several tensors"),
    ],
)
def test_what_cannot_be_cut_says_why(forward: Callable[..., Tensor], trains: tuple[str, ...], reason: str) -> None:
    net = Net(forward)
    if forward is several:
        net.head = nn.Bilinear(8, 8, 3)
    assert find(loaded(net, trains)) == reason


def test_only_bare_parameters_that_train_are_no_place_to_cut() -> None:
    class Bare(Net):
        def __init__(self) -> None:
            super().__init__(lambda net, images: plain(net, images) * net.scale)
            self.scale = nn.Parameter(torch.ones(3))

    table = {"stem": ("stem",), "block": ("block", "head"), "head": ("scale",)}
    assert find(loaded(Bare(), ("head",), table)) == "nothing that trains is a module of its own"


def test_tensors_beside_the_features_that_are_made_from_samples_are_several() -> None:
    def windows(net: Net, images: Tensor) -> Tensor:
        x = net.block(net.stem(images)).mean((2, 3))
        return net.head(x, x.repeat(3, 1))

    class Head(nn.Linear):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x)

    net = Net(windows)
    net.head = Head(8, 3)
    assert find(loaded(net)) == "head is given several tensors"


def test_a_module_that_gives_no_tensors_and_a_forward_that_checks_values_are_named() -> None:
    class Odd(nn.Sequential):
        def forward(self, x: Tensor) -> Any:
            return {1, 2}, super().forward(x)

    net = Net(lambda net, images: net.head(net.block(net.stem(images)[1]).mean((2, 3))))
    net.stem = Odd(*net.stem)
    assert find(loaded(net)) == "stem gives a set, not tensors"

    def checks(net: Net, images: Tensor) -> Tensor:
        if not images.any():
            raise ValueError("a black image\nand more")
        return plain(net, images)

    assert find(loaded(Net(checks))) == "it does not run on stubs: a black image"


# --- what the check is for --------------------------------------------------------------------------------------


def skip(net: Net, images: Tensor) -> Tensor:
    early = net.stem(images)
    return net.head((net.block(early) + early).mean((2, 3)))


def test_a_connection_across_the_cut_is_found_by_the_check(pm: pluggy.PluginManager) -> None:
    inner = {"stem": ("stem", "block.0"), "block": ("block.1",), "head": ("head",)}
    given = loaded(Net(skip), ("block", "head"), inner)
    found = must(given)
    assert found.entry == "block.1"
    assert "off by" in cut.check(pm, found, LOSS, batch(), 0.05)
    whole = loaded(Net(skip), ("head",))  # the connection lies before the cut
    assert cut.check(pm, must(whole), LOSS, batch(), 0.0) == ""


def test_a_new_head_at_zero_hides_no_other_features_and_has_its_bits_back(pm: pluggy.PluginManager) -> None:
    net = Net()
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    given = loaded(net)
    found = must(given)
    broken = copy.copy(found)
    object.__setattr__(broken, "features", lambda inputs: found.features(inputs) + 1)
    assert "off by" in cut.check(pm, broken, LOSS, batch(), 0.05)
    assert not net.head.weight.any() and not net.head.bias.any()


def test_a_bare_parameter_that_trains_and_is_used_before_the_cut_is_found(pm: pluggy.PluginManager) -> None:
    class Token(Net):
        def __init__(self) -> None:
            super().__init__(lambda net, images: plain(net, images + net.token))
            self.token = nn.Parameter(torch.ones(1, 3, 1, 1))

    given = loaded(Token(), table={"stem": ("stem",), "block": ("block",), "head": ("head", "token")})
    assert cut.check(pm, must(given), LOSS, batch(), 0.05) == "the gradient of token needs what comes before the cut"


def test_a_new_head_at_zero_does_not_hide_a_gradient_that_is_lost(pm: pluggy.PluginManager) -> None:
    class Token(Net):
        def __init__(self) -> None:
            super().__init__(
                lambda net, images: net.head(net.block(net.stem(images + net.token)).mean((2, 3)) + net.token)
            )
            self.token = nn.Parameter(torch.zeros(1))

    net = Token()
    nn.init.zeros_(net.head.weight)
    given = loaded(net, ("block", "head"), {"stem": ("stem",), "block": ("block", "token"), "head": ("head",)})
    assert cut.check(pm, must(given), LOSS, batch(), 0.01).startswith("the gradient of token: off by")


def test_a_function_that_always_drops_is_found(pm: pluggy.PluginManager) -> None:
    def drops(net: Net, images: Tensor) -> Tensor:
        return net.head(nn.functional.dropout(net.block(net.stem(images)).mean((2, 3)), 0.5))

    given = loaded(Net(drops))
    assert "off by" in cut.check(pm, must(given), LOSS, batch(), 0.05)


def test_a_train_step_that_looks_at_the_pixels_is_found(pm: pluggy.PluginManager) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, Tensor]:
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]) + batch[0].abs().mean(), "outputs": outputs}

    given = loaded(Net())
    found = must(given)
    assert cut.check(pm, found, LOSS, batch(), 0.01) == ""
    override = ModuleType("override")
    override.train_step = hookimpl(train_step)  # type: ignore[attr-defined]
    pm.register(override)
    assert cut.check(pm, found, LOSS, batch(), 0.01).startswith("the loss: off by")


def test_a_step_that_fails_on_the_cut_model_says_so(pm: pluggy.PluginManager) -> None:
    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, Tensor]:
        if not batch[0].any():
            raise ValueError("no pixels")
        outputs = model(batch[0])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    override = ModuleType("override")
    override.train_step = hookimpl(train_step)  # type: ignore[attr-defined]
    pm.register(override)
    given = loaded(Net())
    assert cut.check(pm, must(given), LOSS, batch(), 0.1) == "a step on the cut model fails: no pixels"


def test_the_tolerance_is_of_the_precision_that_features_are_stored_in(pm: pluggy.PluginManager) -> None:
    given = loaded(Net(), ("block", "head"))
    found = must(given)
    assert "off by" in cut.check(pm, found, LOSS, batch(), 1e-4, torch.bfloat16)
    assert cut.check(pm, found, LOSS, batch(), 0.05, torch.bfloat16) == ""


def test_the_check_leaves_tensors_gradients_modes_and_generators(pm: pluggy.PluginManager) -> None:
    net = Net()
    net.drop.p = 0.3
    given = loaded(net, ("block", "head"))
    found = must(given)
    net.head.weight.grad = torch.ones(3, 8)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes, state = [m.training for m in net.modules()], torch.get_rng_state()
    assert cut.check(pm, found, LOSS, batch(), 0.0) == ""
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(net.head.weight.grad, torch.ones(3, 8)) and net.block[0].weight.grad is None


# --- nothing is left behind -------------------------------------------------------------------------------------


def test_after_finding_feeding_and_failing_the_model_is_as_it_was() -> None:
    given = loaded(Net(forward=None))
    given.model.stem.forward = given.model.stem.forward  # as a library that patches instances leaves it
    before, outputs = traces(given.model), given.model(batch()[0])
    found = must(given)
    features = found.features(batch()[0])
    with pytest.raises(ZeroDivisionError), found.feed(features) as blank:
        given.model(blank)
        1 / 0  # noqa: B018
    with pytest.raises(RuntimeError), found.feed(torch.zeros(2, 5)) as blank:  # features of another width
        given.model(blank)
    assert traces(given.model) == before
    assert torch.equal(given.model(batch()[0]), outputs)
    del given.model.stem.forward
    with found.feed(features):
        pass
    assert set(pickle.loads(pickle.dumps(given.model)).state_dict()) == set(given.model.state_dict())


def test_under_autocast_features_keep_their_precision_and_else_have_the_model_s() -> None:
    given = loaded(Net())
    found = must(given)
    seen: list[torch.dtype] = []
    given.model.head.register_forward_hook(lambda module, args, _: seen.append(args[0].dtype))
    half = torch.zeros(2, 8, dtype=torch.bfloat16)
    with found.feed(half) as blank:
        given.model(blank)
    with torch.autocast("cpu", dtype=torch.bfloat16), found.feed(half) as blank:
        given.model(blank)
    assert seen == [torch.float32, torch.bfloat16]


def test_a_compiled_model_is_fed_all_the_same() -> None:
    given = loaded(Net())
    found, (images, _) = must(given), batch()
    outputs = given.model(images)
    given.model.compile(backend="eager")
    given.model(images)  # its graph is there now
    features = found.features(images)
    with found.feed(features) as blank:
        assert torch.equal(given.model(blank), outputs)
    assert torch.equal(given.model(images), outputs)


def test_the_tensors_that_features_depend_on_are_all_before_the_cut() -> None:
    class Buffered(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("taper", torch.ones(8), persistent=False)

    names = set(must(loaded(Buffered(), ("block", "head"))).tensors())
    assert "taper" in names and {name.split(".")[0] for name in names} == {"stem", "taper"}
    assert {"stem.0.weight", "stem.1.running_mean"} <= names
