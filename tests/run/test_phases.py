"""Phases of a run: what is frozen in front is computed once, and that changes no result."""

import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
import toy_family
from forked import Python
from runs import heard, job, listening
from safetensors.torch import load_file
from torch import Tensor, nn

from hubft import Loaded, engine
from hubft.cut import cut
from hubft.engine import Result
from hubft.images import pixels
from hubft.report import reporting
from hubft.run import diagnosis
from hubft.share import inference, load

FATAL = Path(__file__).parents[1] / "fatal.py"
HEAD = {"train": "head", "epochs": 4, "probe": False}


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=16, val=8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test."""
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def weights(result: Result) -> dict[str, Tensor]:
    return load_file(result.run.package / "model.safetensors")


def assert_close(first: Result, second: Result) -> None:
    """The same weights, but for the rounding of batches of other sizes."""
    its = weights(second)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(tensor, its[name], rtol=1e-4, atol=1e-5)


class Counted(toy_family.Small):
    """The toy network, which counts the images that its stem computes."""

    def __init__(self, stem_saw: list[int]) -> None:
        super().__init__()
        self.stem = _Counting(self.stem, stem_saw)


class _Counting(nn.Sequential):
    def __init__(self, stem: nn.Sequential, saw: list[int]) -> None:
        super().__init__(*stem)
        object.__setattr__(self, "saw", saw)

    def forward(self, images: Tensor) -> Tensor:
        self.saw.append(len(images))
        return super().forward(images)


def loads(net: Callable[[], nn.Module]) -> Callable[..., Loaded]:
    """Return a hook `load` that gives the toy family's model with another network."""

    def load(name: str, pretrained: bool) -> Loaded:
        return toy_family.build("toy", name, pretrained, net)

    return load


# --- one phase --------------------------------------------------------------------------------------------------


def test_a_cache_folder_serves_other_machines_and_no_package_names_it(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = {"cache_folder": str(tmp_path / "common")}
    for machine, how in (("one", "computed once"), ("other", "found in the cache")):
        monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / machine))
        recipe = HEAD | {"epochs": 7, "probe": False}
        result, said = heard(job(insects, tmp_path / f"run-{machine}", recipe=recipe, compute=compute))
        assert said.about("cache ") == [
            f"cache    features before drop {how}, of images as they are: --views 4 augments three"
        ]
        assert list((tmp_path / "common" / "features").iterdir()) and not (tmp_path / machine / "features").exists()
        assert "common" not in (result.run.package / "hubft.json").read_text()


@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("views", [1, 3])
def test_the_cache_changes_no_result(insects: Path, tmp_path: Path, probe: bool, views: int) -> None:
    recipe = HEAD | {"epochs": 7, "probe": probe, "views": views}
    first, its = heard(job(insects, tmp_path / "first", recipe=recipe))
    second, again = heard(job(insects, tmp_path / "second", recipe=recipe))
    whole, said = heard(job(insects, tmp_path / "whole", recipe=recipe, compute={"cache": 0}))
    how = "found in the cache" if probe and views == 1 else "computed once"  # the probe has computed view 0
    seen = "3 views of each image" if views > 1 else "of images as they are: --views 4 augments three"
    assert its.about("cache ") == [f"cache    features before drop {how}, {seen}"]
    assert again.about("cache ") == [f"cache    features before drop found in the cache, {seen}"]
    assert said.about("cache ") == ["cache    its frozen part is not cached: --cache is 0"]
    assert_close(first, whole)
    assert weights(first)["head.weight"].abs().max() > 0.01
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(second)[name]), name
    for name in ("loss", "val_loss"):
        trail, uncached = ([line[name] for line in r.run.history()] for r in (first, whole))
        assert trail == pytest.approx(uncached, rel=1e-4)


def test_a_frozen_part_computes_as_often_in_many_epochs_as_in_few(
    insects: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {}
    for epochs, gigabytes in ((2, 10.0), (9, 10.0), (2, 0.0), (9, 0.0)):
        saw: list[int] = []
        with monkeypatch.context() as patch:
            listening(patch, load=loads(lambda saw=saw: Counted(saw)))
            patch.setattr(diagnosis, "parted", lambda *_: "")  # it looks at images where an epoch gives reason to,
            patch.setattr(reporting, "keep", lambda *_: [])  # and this at the worst mistakes
            recipe = HEAD | {"epochs": epochs}
            heard(job(insects, tmp_path / f"{epochs}-{gigabytes}", recipe=recipe, compute={"cache": gigabytes}))
        counts[epochs, gigabytes] = sum(saw)
        shutil.rmtree(cache, ignore_errors=True)
    images = 48 + 24
    assert counts[2, 10] == counts[9, 10]
    assert counts[9, 0] - counts[2, 0] == 7 * images  # uncached, an epoch computes all of them


def test_metrics_on_cached_features_are_the_package_s(insects: Path, tmp_path: Path) -> None:
    result, console = heard(job(insects, tmp_path / "run", recipe=HEAD))
    assert console.about("cache    features before drop")
    measured = inference.evaluate(load.opened(load.package(str(tmp_path / "run"))), insects).metrics
    assert measured.loss == pytest.approx(result.metrics.loss, rel=1e-5)
    assert measured.details["confusion"] == result.metrics.details["confusion"]
    assert result.metrics.loss == result.run.history()[-1]["val_loss"]


@pytest.mark.parametrize("gigabytes", [10.0, 0.0])
def test_epochs_go_through_the_views_in_turn(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: float
) -> None:
    epochs: list[Tensor] = []  # what the head was given, a batch an epoch, the samples in an order that does not matter

    def train_step(model: nn.Module, batch: Any, criterion: nn.Module) -> dict[str, Tensor]:
        given: list[Tensor] = []
        handle = model.get_submodule("head").register_forward_pre_hook(lambda _, its: given.append(its[0].detach()))
        outputs = model(batch[0])
        handle.remove()
        if model.training and len(batch[1]) == 48:
            epochs.append(given[0][given[0][:, 0].argsort()])
        return {"loss": criterion(outputs, batch[1]), "outputs": outputs}

    class Plain(toy_family.Small):
        def __init__(self) -> None:
            super().__init__()
            self.drop.p = 0.0

    listening(monkeypatch, load=loads(Plain), train_step=train_step)
    recipe = HEAD | {"epochs": 7, "views": 3, "batch_size": 48, "augment": "standard"}
    heard(job(insects, tmp_path / "run", recipe=recipe, compute={"cache": gigabytes}))
    assert len(epochs) == 7
    same = [next(n for n, other in enumerate(epochs) if torch.allclose(other, each, atol=1e-5)) for each in epochs]
    assert same == [0, 1, 2, 0, 1, 2, 0]
    plain, _ = heard(job(insects, tmp_path / "plain", recipe=HEAD | {"epochs": 1, "augment": "none", "batch_size": 48}))
    assert plain.run.package.exists() and torch.allclose(epochs[7], epochs[0], atol=1e-5)  # view 0 is the evaluation's


# --- more than one phase, and none ------------------------------------------------------------------------------


def test_gradual_unfreezing_caches_what_is_frozen_in_each_phase(insects: Path, tmp_path: Path) -> None:
    recipe = HEAD | {"train": "head, block@0.5", "epochs": 6}
    cached, console = heard(job(insects, tmp_path / "cached", recipe=recipe))
    whole, _ = heard(job(insects, tmp_path / "whole", recipe=recipe, compute={"cache": 0}))
    entries = [line.split()[3] for line in console.about("cache ") if "computed once" in line]
    assert entries == ["drop", "block"]
    assert_close(cached, whole)
    base = toy_family.build("toy", "small", True, toy_family.Small).model.state_dict()
    its = weights(cached)
    kept = {name for name in base if base[name].shape == its[name].shape and torch.equal(base[name], its[name])}
    assert kept == {name for name in base if name.startswith("stem")}
    assert cached.run.history()[-1]["loss"] < cached.run.history()[0]["loss"]


def test_each_cut_is_found_and_proved_once(insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe and the first phase cut before the head, the second phase before the block."""
    proved: list[str] = []
    check = cut.check

    def counted(pm: Any, found: Any, *rest: Any) -> str:
        proved.append(found.entry)
        return check(pm, found, *rest)

    monkeypatch.setattr(cut, "check", counted)
    engine.finetune(job(insects, tmp_path / "run", recipe={"train": "head, block@0.5", "epochs": 4}))
    assert len(proved) == len(set(proved)) == 2


def test_a_phase_that_shows_no_view_twice_is_not_cached(insects: Path, tmp_path: Path, cache: Path) -> None:
    _, console = heard(job(insects, tmp_path / "run", recipe=HEAD | {"epochs": 3, "views": 3}))
    assert not console.about("cache ") and not cache.exists()


def test_strong_augmentation_is_not_cached(
    insects: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saw: list[int] = []
    views: set[int] = set()
    real = pixels.Views.__getitem__
    monkeypatch.setattr(pixels.Views, "__getitem__", lambda its, index: (views.add(index[0]), real(its, index))[1])
    listening(monkeypatch, load=loads(lambda: Counted(saw)))
    _, console = heard(job(insects, tmp_path / "run", recipe=HEAD | {"augment": "strong"}))
    assert not console.about("cache ") and not cache.exists()
    assert views == {0, 1, 2, 3, 4}  # the evaluation's, and for each epoch one of its own
    assert sum(saw) >= 4 * (48 + 24)


def test_where_all_trains_nothing_is_cut_or_told(insects: Path, tmp_path: Path, cache: Path) -> None:
    _, console = heard(job(insects, tmp_path / "run", recipe={"train": "all", "epochs": 3, "probe": False}))
    assert not console.about("cache ") and not console.about("note") and not cache.exists()


class Crossed(toy_family.Small):
    """Its outputs take a way past the head: it cannot be cut there."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.block(self.stem(images)).mean((2, 3))
        return self.head(features) + features[:, :3].sum(1, keepdim=True).sin()


@pytest.mark.parametrize("probe", [False, True])
def test_a_net_that_cannot_be_cut_says_why_and_trains(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: bool
) -> None:
    listening(monkeypatch, load=loads(Crossed))
    result, console = heard(job(insects, tmp_path / "run", recipe=HEAD | {"probe": probe, "epochs": 8}))
    (line,) = console.about("cache ")
    assert re.fullmatch(r"cache    its frozen part runs every time: the (outputs|loss): off by \d.*%", line)
    assert len(console.about("note: the head starts at zero, no probe is solved: the ")) == int(probe)
    history = result.run.history()
    assert len(history) == 8 and history[-1]["loss"] < history[0]["loss"]
    assert load.load(str(tmp_path / "run"), prove=True)


class Maps(toy_family.Small):
    """Its head is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(32, toy_family.CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.stem(images))).mean((2, 3))


def test_a_head_that_is_a_convolution_is_probed_and_cached(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adapt_head(loaded: Loaded, task: Any) -> Loaded:
        head = nn.Conv2d(32, task.outputs, 1)
        nn.init.zeros_(head.weight)
        loaded.model.set_submodule("head", head)
        return loaded

    listening(monkeypatch, load=loads(Maps), adapt_head=adapt_head)
    result, console = heard(job(insects, tmp_path / "run", recipe=HEAD | {"probe": True}))
    assert len(console.about("cache    features before head found in the cache")) == 1
    assert console.about("probe ") and not console.about("note")
    assert result.metrics.values["accuracy"].value > 0.45  # chance is 0.33


# --- killed, and resumed ----------------------------------------------------------------------------------------


CACHED = (
    "--epochs 6 --batch-size 8 --views 2 --train head,block@0.6 --workers 0 --lr 0.01 --augment standard "
    "--checkpoint-every 6"
)


@pytest.fixture(scope="module")
def uninterrupted(python: Python, insects: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    run = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBFT_CACHE", str(run.parent / "cache"))
        done = python("-m", "hubft", "finetune", "toy:small", str(insects), *CACHED.split(), "--output", str(run))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cache    features before drop") == 1, done.stdout
    assert done.stdout.count("cache    features before block computed once") == 0  # two epochs of two views
    yield run


@pytest.mark.parametrize(
    ("moments", "keep"),
    [
        ([("plan", 0), ("plan", 1), ("step", 9)], False),  # before and after the plan is written; in the cached phase
        ([("step", 14), ("step", 26)], True),  # there, with the cache left as it is, and in the phase after it
    ],
)
def test_a_run_killed_in_a_cached_phase_ends_with_the_same_bits(
    python: Python,
    insects: Path,
    tmp_path: Path,
    cache: Path,
    uninterrupted: Path,
    moments: list[tuple[str, int]],
    keep: bool,
) -> None:
    run = tmp_path / "run"
    for moment, number in moments:
        fresh = ["toy:small", str(insects), *CACHED.split(), "--output", str(run)]
        rest = ["--resume", str(run)] if run.exists() else fresh
        died = python(str(FATAL), moment, str(number), "finetune", *rest)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert (run / "plan.json").exists() == ((moment, number) != ("plan", 0))
        assert (cache / "features").exists()
        if not keep:
            shutil.rmtree(cache)
    done = python("-m", "hubft", "finetune", "--resume", str(run))
    assert done.returncode == 0, done.stderr
    for file in ("package/model.safetensors", "checkpoints/step-00000036/state.safetensors"):
        assert (run / file).read_bytes() == (uninterrupted / file).read_bytes(), file
