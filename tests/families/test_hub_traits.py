"""What real torch.hub repositories do, a tiny stand-in for each trait: from the entry to the package."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from commands import Hubft
from torch import nn

from hubft import Head, Job, Loaded, engine
from hubft.base.errors import FamilyError, HubftError, JobError
from hubft.families import heads, plugins
from hubft.families.build import adapt, load_base
from hubft.job import Compute, Recipe
from hubft.share import load

TRAITS = Path(__file__).parents[1] / "traits"
CHECKOUT = Path(__file__).parents[2]
WEIGHTS = ("depends", "always", "named_weights", "from_checkpoint")  # entries that read a file


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=8, val=3)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch.hub with the files that entries ask for, and no network to get others."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    for name in WEIGHTS:
        model = load_base(
            plugins.manager("hub"), Job(f"hub:{TRAITS}:{'sized?width=6' if 'from' in name else 'sized'}", "-"), True
        ).model
        state = model.state_dict()
        if name == "depends":
            state |= {"extra.weight": torch.zeros(5, 8), "extra.bias": torch.zeros(5)}
        torch.save(state, folder / f"{name}.pth")
    return folder


def reference(entry: str) -> str:
    return f"hub:{TRAITS}:{entry}"


def job(entry: str, data: Path, output: Path, size: int = 64, **head: Any) -> Job:
    return Job(
        reference(entry),
        str(data),
        head=Head(**head),
        recipe=Recipe(epochs=2, lr=0.01, batch_size=8),
        compute=Compute(device="cpu", workers=0, cache=0.01),
        size=size,
        output=str(output),
    )


def loaded(entry: str, size: int = 64, pretrained: bool = True) -> Loaded:
    return load_base(plugins.manager("hub"), Job(reference(entry), "-", size=size), pretrained)


def adapted(entry: str, size: int = 64, **head: Any) -> Loaded:
    asked = Job(reference(entry), "-", size=size, head=Head(outputs=3, **head))
    return adapt(plugins.manager("hub"), asked, load_base(plugins.manager("hub"), asked, True))


# ---- from the entry to the package -----------------------------------------------------------------

RUNS: list[tuple[str, dict[str, Any]]] = [
    ("backbone", {}),
    ("backbone", {"pool": "both"}),
    ("tokens", {}),
    ("tokens", {"pool": "patches", "hidden": (4,)}),
    ("vector", {}),
    ("feature_map", {}),
    ("summarised", {"pool": "both"}),
    ("soft_head", {}),
    ("soft_module", {}),
    ("normed", {}),
    ("distilled", {}),
    ("squeezed", {}),
    ("auxiliary", {}),
    ("auxiliary_dict", {}),
    ("depends", {}),
    ("always", {}),
    ("named_weights", {}),
    ("fixed", {"size": 40}),
    ("says", {"size": 0}),
    ("computed", {}),
    ("sized?width=6&name=b%26c", {}),
]


@pytest.mark.parametrize(
    ("entry", "options"), RUNS, ids=lambda part: part if isinstance(part, str) else "-".join(map(str, part.values()))
)
def test_a_trait_is_trained_packaged_and_loaded_again_without_the_weights(
    entry: str,
    options: dict[str, Any],
    insects: Path,
    weights: Path,
    tmp_path: Path,
    hubft: Hubft,
) -> None:
    result = engine.finetune(job(entry, insects, tmp_path / "run", **options))
    for file in weights.iterdir():
        file.unlink()
    logits = {}
    images = torch.rand(2, 3, *[load.package(result.run.folder).manifest.inputs.size[0]] * 2)
    ours = load.load(result.run.folder, trust=True, prove=True)
    again = torch.hub.load(str(CHECKOUT), "finetuned", str(result.run.package), source="local", trust=True)
    for name, model in (("ours", ours), ("again", again)):
        assert not [m for m in model.modules() if type(m).__module__.startswith("hubft")]
        logits[name] = model(images)
    assert torch.equal(logits["ours"], logits["again"]) and logits["ours"].shape == (2, 3)
    assert not torch.allclose(logits["ours"].sum(1), torch.ones(2)) and logits["ours"].isfinite().all()
    size = options.get("size", 0)
    for words in (["show", reference(entry), "--size", size], ["show", tmp_path / "run", "--trust"]):
        assert hubft(*words).code == 0
    assert hubft("evaluate", tmp_path / "run", insects, "--trust").code == 0
    assert not list(weights.iterdir()), "something was downloaded"


# ---- heads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "head"),
    [
        ("soft_head", ("head",)),
        ("soft_module", ("3",)),
        ("distilled", ("head", "head_dist")),
        ("squeezed", ("head",)),
        ("auxiliary", ("head",)),
        ("normed", ("head",)),
        ("backbone", ("head",)),
    ],
)
def test_the_heads_are_the_layers_whose_values_are_the_outputs(entry: str, head: tuple[str, ...]) -> None:
    found = loaded(entry)
    assert found.stages["head"] == head and found.head == head[0]
    assert isinstance(found.model, nn.Sequential) == (entry in ("normed", "backbone", "soft_module"))


@pytest.mark.parametrize("entry", ["soft_head", "soft_module", "squeezed", "distilled"])
def test_outputs_in_eval_mode_are_logits(entry: str) -> None:
    found = adapted(entry)
    for name in found.stages["head"]:
        nn.init.normal_(found.model.get_submodule(name).weight, std=3.0)  # type: ignore[arg-type]
    seen = heads.run(found.model, (3, 64, 64))
    assert seen.made_by(found.stages["head"]) and not torch.allclose(seen.outputs.sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("soft_forward", "in eval mode a softmax follows its last Linear, 'head'"),
        ("other_in_training", r"in training mode it gives a tensor \[2, 5\], not what its heads make"),
    ],
)
def test_what_would_train_and_evaluate_differently_is_refused(
    entry: str, says: str, insects: Path, tmp_path: Path
) -> None:
    with pytest.raises(FamilyError, match=says) as caught:
        engine.finetune(job(entry, insects, tmp_path / "run"))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("entry", ["auxiliary", "auxiliary_dict", "distilled"])
def test_auxiliary_outputs_are_left_out_and_what_makes_them_is_held(entry: str, insects: Path, tmp_path: Path) -> None:
    result = engine.finetune(job(entry, insects, tmp_path / "run"))
    model = load.load(result.run.folder, trust=True)
    held = [name for name, _ in model.named_buffers() if name.startswith("aux")]
    assert all(torch.equal(model.get_buffer(n), torch.zeros(4)) for n in held if n.endswith("running_mean"))
    assert load.package(result.run.folder).manifest.frozen["tensors"] >= 9 * entry.startswith("aux")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 1.2


# ---- features --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "pool", "wanted"),
    [
        ("backbone", "auto", lambda f: f["cls"]),
        ("backbone", "token", lambda f: f["cls"]),
        ("backbone", "patches", lambda f: f["patches"].mean(1)),
        ("backbone", "both", lambda f: torch.cat([f["cls"], f["patches"].mean(1)], 1)),
        ("tokens", "auto", lambda f: f["cls"]),
        ("tokens", "both", lambda f: torch.cat([f["cls"], f["patches"].mean(1)], 1)),
        ("summarised", "auto", lambda f: torch.cat([f["cls"], f["cls"]], 1)),
        ("summarised", "both", lambda f: torch.cat([f["cls"], f["cls"], f["patches"].mean(1)], 1)),
    ],
)
def test_a_head_is_put_on_what_pool_asks_for(entry: str, pool: str, wanted: Callable[[Any], torch.Tensor]) -> None:
    found = adapted(entry, pool=pool).model.eval()
    given: list[torch.Tensor] = []
    found.get_submodule("head").register_forward_pre_hook(lambda _, args: given.append(args[0]))
    images = torch.rand(2, 3, 64, 64)
    found(images)
    assert torch.equal(given[0], wanted(found.get_submodule("body").forward_features(images)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("entry", "pool", "says"),
    [
        ("vector", "token", "no token can be told apart: leave pool token out"),
        ("feature_map", "both", "no token and no patches can be told apart"),
        ("squeezed", "token", "has a head of its own, 'head'"),
    ],
)
def test_what_pool_cannot_have_is_refused(entry: str, pool: str, says: str) -> None:
    with pytest.raises(HubftError, match=says):
        adapted(entry, pool=pool)


def test_families_that_have_heads_refuse_pool(insects: Path, tmp_path: Path) -> None:
    asked = Job("toy:small", str(insects), head=Head(pool="patches"), output=str(tmp_path / "run"))
    with pytest.raises(JobError, match=r"pool patches: toy:small has a head of its own, 'head'.*leave it out"):
        engine.finetune(asked)
    assert not (tmp_path / "run").exists()


# ---- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [*WEIGHTS, "by_other_means"])
def test_show_downloads_nothing(entry: str, hubft: Hubft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    asked: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    real = socket.getaddrinfo
    ran = hubft("show", reference(entry))
    assert not asked and socket.getaddrinfo is real and not list((tmp_path / "torch").rglob("*.pth"))
    assert (ran.code == 0) == (entry not in ("from_checkpoint", "by_other_means")), ran.err
    assert "Downloading" not in ran.out + ran.err and "\n" not in ran.err.strip()


def test_what_cannot_be_built_without_its_weights_is_refused_before_it_trains(
    insects: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        FamilyError, match=r"another model without its weights.*looks at the shape of weights"
    ) as caught:
        engine.finetune(job("from_checkpoint", insects, tmp_path / "run"))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_an_architecture_that_depends_on_the_flag_is_packaged_with_the_flag(weights: Path) -> None:
    assert loaded("depends").base.reference == reference("depends?weights=DEFAULT")
    assert loaded("sized?width=6").base.reference == reference("sized?width=6")
    bare = loaded("depends?weights=DEFAULT", pretrained=False).model
    assert bare.scale == 3.0 and not hasattr(bare, "extra")


@pytest.fixture
def threads() -> Iterator[None]:
    before = (torch.load, nn.Module.load_state_dict, torch.hub.download_url_to_file, socket.getaddrinfo)
    yield
    assert (torch.load, nn.Module.load_state_dict, torch.hub.download_url_to_file, socket.getaddrinfo) == before


def test_only_the_thread_that_builds_goes_without_weights(weights: Path, threads: None) -> None:
    from threading import Thread

    from hubft.families.weightless import without_weights

    found: list[Any] = []
    with without_weights() as asked:
        other = Thread(target=lambda: found.append(torch.load(weights / "always.pth", weights_only=True)))
        other.start()
        other.join()
        assert not asked and len(found[0]) == 11
        assert torch.load(weights / "always.pth", weights_only=True) == {} and len(asked) == 1


# ---- size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "asked", "size"), [("says", 0, 72), ("fixed", 40, 40), ("vector", 0, 224), ("vector", 96, 96)]
)
def test_the_size_is_the_models_own_or_the_one_that_was_asked_for(entry: str, asked: int, size: int) -> None:
    assert loaded(entry, asked).preprocess.size == (size, size)


@pytest.mark.parametrize(("entry", "asked"), [("fixed", 0), ("fixed", 48), ("says", 64)])
def test_a_size_that_is_not_taken_is_said_with_the_line_that_failed(entry: str, asked: int) -> None:
    with pytest.raises(
        FamilyError, match=r"images of \d+ x \d+: AssertionError at line \d+ of hubconf.py: assert images"
    ):
        adapted(entry, asked)


# ---- packages --------------------------------------------------------------------------------------


def test_packages_that_are_missing_come_with_their_cure(tmp_path: Path) -> None:
    with pytest.raises(
        FamilyError, match=r"imports 'package_that_nobody_has'.*try: pip install package_that_nobody_has"
    ):
        loaded("needs")
    with pytest.raises(
        FamilyError, match=r"'torchvision.models.of_another_version', which the torchvision 0.* does not"
    ):
        loaded("needs_older")
    (tmp_path / "hubconf.py").write_text('dependencies = ["torch", "nobody_has", "nor_this"]\nraise SystemExit\n')
    with pytest.raises(
        FamilyError, match=r"lists nobody_has, nor_this, not installed here; try: pip install nobody_has nor"
    ):
        plugins.manager("hub").hook.load(name=f"{tmp_path}:any", pretrained=True, config={}, task="")


# ---- arguments -------------------------------------------------------------------------------------


def test_arguments_of_an_entry_are_data() -> None:
    asked = loaded("sized?width=6&classes=7&name=%22true%22&deep=true&rate=1e-2").model.asked
    assert asked == (6, 7, "true", True, 0.01)
    assert loaded("open_ended?width=3").model.asked[0] == 3


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("widht=3", "has no argument 'widht'; it has width, classes, name, deep, rate. Did you mean 'width'"),
        ("width", "cannot be read"),
        ("width=3&width=4", "there twice"),
        ("na me=3", "is no name=value"),
        ("name=%00", "is no name=value"),
        ("name=" + 2000 * "x", "at most 32 arguments in 1000 characters"),
        ("&".join(f"a{n}={n}" for n in range(40)), "at most 32 arguments"),
        ("width=abc", "failed: TypeError"),
    ],
)
def test_arguments_that_are_none_are_refused_in_one_line(query: str, says: str) -> None:
    with pytest.raises(FamilyError, match=says) as caught:
        loaded(f"sized?{query}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000


def test_a_run_of_an_entry_with_arguments_has_a_decent_folder(
    insects: Path,
    tmp_path: Path,
    hubft: Hubft,
) -> None:
    words = ["--size", 32, "--epochs", 1, "--workers", 0, "--device", "cpu", "--cache", 0]
    assert hubft("finetune", reference("sized?width=6&name=../x"), insects, *words).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == "traits-sized-width-6-name-..-x-insects"
    card = (run / "package" / "README.md").read_text()
    assert f"hubft finetune '{reference('sized?width=6&name=../x')}' DATA" in card
    assert sys.path[0] != str(TRAITS)
