"""The family `package`: one's own packages are trained further, and what they came from is kept."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import packages
import pictures
import pytest
import torch
from runs import heard, job, killed
from safetensors.torch import load_file
from torch import Tensor

from hubft import Job, engine, testing
from hubft.base import digest
from hubft.base.errors import BaseMismatch, PackageError
from hubft.job import Head
from hubft.publish.manifest import Manifest
from hubft.share import inference, load, transfer

OTHERS = ("cats", "dogs")


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=20, val=6)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "pets", OTHERS)


@pytest.fixture(scope="module")
def parent(insects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, with a learning rate by which every tensor moved."""
    folder = tmp_path_factory.mktemp("runs") / "flowers"
    engine.finetune(job(insects, folder, recipe={"train": "all"}))
    return folder


def further(parent: object, data: Path, output: Path, **parts: Any) -> Job:
    """Return the job of a run on a package, by default of the solved head alone."""
    parts["recipe"] = {"epochs": 0} | parts.get("recipe", {})
    return replace(job(data, output, **parts), reference=f"package:{parent}")


def state(folder: Path) -> dict[str, Tensor]:
    return load.load(folder).state_dict()


def manifest(folder: Path) -> Manifest:
    return load.package(folder).manifest


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that are equal in both."""
    return {n for n in first.keys() & second.keys() if torch.equal(first[n], second[n])}


BODY = {"stem.0.weight", "block.0.weight", "stem.1.running_mean", "block.1.weight"}
HEAD = {"head.weight", "head.bias"}


# --- what it starts from ------------------------------------------------------------------------------------------


def test_the_same_classes_go_on_from_the_head_that_is_there(parent: Path, insects: Path, tmp_path: Path) -> None:
    result, console = heard(further(parent, insects, tmp_path / "more"))
    assert same(state(parent), state(tmp_path / "more")) == state(parent).keys()
    assert result.metrics.details["confusion"] == manifest(parent).metrics["confusion"]
    assert len(console.about("probe    accuracy ")) == 1 and "as it is in the package" in console.about("probe")[0]


def test_a_head_that_errs_on_the_new_images_is_solved_anew(parent: Path, insects: Path, tmp_path: Path) -> None:
    """The same names for other things: what the old head knows is wrong now."""
    swapped = Path(shutil.copytree(insects, tmp_path / "swapped"))
    for part in ("train", "val"):
        (swapped / part / "ants").rename(swapped / part / "was ants")
        (swapped / part / "bees").rename(swapped / part / "ants")
        (swapped / part / "was ants").rename(swapped / part / "bees")
    result, console = heard(further(parent, swapped, tmp_path / "more"))
    moved = state(parent).keys() - same(state(parent), state(tmp_path / "more"))
    assert moved == HEAD and "held out from it" in console.about("probe")[0]
    assert result.metrics.values["accuracy"].value > 0.5


def test_without_a_probe_the_head_goes_on_as_it_is(parent: Path, insects: Path, tmp_path: Path) -> None:
    recipe = {"epochs": 1, "probe": False, "lr": 1e-9, "averaging": 0.0, "train": "head"}
    engine.finetune(further(parent, insects, tmp_path / "more", recipe=recipe))
    before, after = state(parent), state(tmp_path / "more")
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)


def test_training_goes_on_on_the_package_s_weights(parent: Path, insects: Path, tmp_path: Path) -> None:
    result, _ = heard(further(parent, insects, tmp_path / "more", recipe={"epochs": 1, "lr": 1e-4}))
    before, after = state(parent), state(tmp_path / "more")
    moved = before.keys() - same(before, after)
    assert {"stem.0.weight", "head.weight"} <= moved
    assert all(torch.allclose(before[name], after[name], atol=1e-2) for name in before)
    assert result.metrics.values["accuracy"].value >= manifest(parent).metrics["accuracy"]["value"] - 0.1


def test_other_classes_get_a_fresh_head_on_the_same_body(parent: Path, pets: Path, tmp_path: Path) -> None:
    engine.finetune(further(parent, pets, tmp_path / "more"))
    before, after = state(parent), state(tmp_path / "more")
    assert same(before, after) == before.keys() - HEAD and after["head.weight"].shape == (2, 32)
    assert manifest(tmp_path / "more").task.names == OTHERS


PARENTS: dict[str, dict[str, Any]] = {
    "hidden": {"head": Head(hidden=(8,), dropout=0.25)},
    "bf16": {"compress": "bf16"},
    "sized": {"size": 48},
    "delta": {"package": "delta"},
}


@pytest.mark.parametrize("package", ["full", "delta"])
@pytest.mark.parametrize("kind", PARENTS)
@pytest.mark.parametrize("classes", ["the same", "others"])
def test_every_kind_of_package_can_be_trained_further(
    kind: str, classes: str, package: Any, insects: Path, pets: Path, tmp_path: Path
) -> None:
    first, more = tmp_path / "first", tmp_path / "more"
    engine.finetune(job(insects, first, recipe={"epochs": 0}, **PARENTS[kind]))
    data = insects if classes == "the same" else pets
    engine.finetune(further(first, data, more, package=package))
    before, after, its = state(first), state(more), manifest(more)
    heads = {name for name in (*before, *after) if name.startswith("head")}
    assert same(before, after) - heads == before.keys() - heads
    assert (same(before, after) >= heads) == (classes == "the same")
    assert its.inputs == manifest(first).inputs
    assert its.job.head.hidden == ((8,) if kind == "hidden" and classes == "the same" else ())
    assert load.load(more, prove=True).hubft["base"]["below"] == ("toy:small",)
    again = engine.finetune(further(more, insects, tmp_path / "again", package=package))
    assert load.load(again.run.folder, prove=True) is not None


# --- what it says of where it came from -----------------------------------------------------------------------


def test_a_package_says_what_it_came_from_without_a_path(parent: Path, pets: Path, tmp_path: Path) -> None:
    engine.finetune(further(parent, pets, tmp_path / "more"))
    base, first = manifest(tmp_path / "more").base, manifest(parent)
    assert (base.reference, base.below, base.license) == ("package:flowers", ("toy:small",), "cc0-1.0")
    assert base.sha256 == digest.of_state(digest.of_tensors(state(parent)))
    assert base.revision == digest.of_file(parent / "package" / "hubft.json") and len(first.base.below) == 0
    engine.finetune(further(tmp_path / "more", pets, tmp_path / "third"))
    base = manifest(tmp_path / "third").base
    assert (base.reference, base.below) == ("package:more", ("package:flowers", "toy:small"))
    for file in (tmp_path / "third" / "package").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file
    assert "| it was itself fine-tuned from | `package:flowers, from toy:small` |" in card_of(tmp_path / "third")


def card_of(run: Path) -> str:
    return (run / "package" / "README.md").read_text()


def test_a_full_package_needs_no_parent(parent: Path, pets: Path, tmp_path: Path) -> None:
    first = Path(shutil.copytree(parent, tmp_path / "first"))
    engine.finetune(further(first, pets, tmp_path / "more"))
    shutil.rmtree(first)
    assert load.load(tmp_path / "more", prove=True).hubft["reference"] == "package:first"
    assert inference.evaluate(load.opened(load.package(tmp_path / "more")), pets).metrics.head.n == 8


def test_a_delta_holds_what_differs_from_its_parent_and_needs_those_very_bytes(
    parent: Path, insects: Path, tmp_path: Path
) -> None:
    first, more = Path(shutil.copytree(parent, tmp_path / "first")), tmp_path / "more"
    recipe = {"epochs": 1, "lr": 0.01, "train": "head"}
    engine.finetune(further(first, insects, more, package="delta", recipe=recipe))
    assert load_file(more / "package" / "delta.safetensors").keys() == HEAD
    assert load.load(more, prove=True) is not None
    with pytest.raises(PackageError, match=r"it lies over a package of this machine.* push that package first"):
        transfer._check_publishable(manifest(more))
    engine.finetune(replace(job(insects, tmp_path / "new", recipe={"train": "all", "lr": 0.01})))
    shutil.rmtree(first / "package")
    shutil.copytree(tmp_path / "new" / "package", first / "package")
    with pytest.raises(BaseMismatch, match="other bytes"):
        load.load(more)
    shutil.rmtree(first)
    with pytest.raises(PackageError, match="this delta needs its base package:/"):
        load.load(more)


# --- what it needs, and what it keeps -----------------------------------------------------------------------------


def test_a_killed_run_goes_on_from_anywhere(
    parent: Path, insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(parent.parent)
    run = killed(further("flowers", insects, tmp_path / "run", recipe={"epochs": 2}), 3, monkeypatch)
    assert run.job().reference == f"package:{parent}"
    monkeypatch.chdir(tmp_path)
    whole = engine.finetune(further(parent, insects, tmp_path / "whole", recipe={"epochs": 2}))
    name = "model.safetensors"
    assert (engine.resume(run.folder).run.package / name).read_bytes() == (whole.run.package / name).read_bytes()


HUBCONF = """
import torch
from torch import nn

dependencies = ["torch"]


def tiny(pretrained=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


def test_code_that_a_package_brings_runs_only_on_request(insects: Path, tmp_path: Path) -> None:
    """Who names a repository wants its code; who names a package of it may not know."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "hubconf.py").write_text(HUBCONF)
    first = replace(
        job(insects, tmp_path / "first", recipe={"epochs": 0}), reference=f"hub:{tmp_path}/repo:tiny", size=32
    )
    engine.finetune(first)
    asked = further(tmp_path / "first", insects, tmp_path / "more")
    with pytest.raises(PackageError, match=r"runs the code of hub:.*/repo:tiny, .* --trust"):
        engine.finetune(asked)
    with pytest.raises(PackageError, match="runs the code of hub:"):
        testing.check_family("package", str(tmp_path / "first"))
    assert not (tmp_path / "more").exists()
    engine.finetune(asked, trust=True)
    with pytest.raises(PackageError, match="runs the code of hub:"):
        load.load(tmp_path / "more")
    assert load.load(tmp_path / "more", trust=True) is not None


def test_deltas_of_each_other_are_refused(parent: Path, insects: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    engine.finetune(further(parent, insects, more, package="delta"))
    packages.rewrite(more / "package", lambda data: data["base"].update(reference=f"package:{more}"))
    with pytest.raises(PackageError, match="leads no nearer to toy:small"):
        load.load(more)
    for below in ([], ["package:a/b"], ["toy:small"] * 99):
        packages.rewrite(more / "package", lambda data, below=below: data["base"].update(below=below))
        with pytest.raises(PackageError, match=r"base\.below .* must lead"):
            load.load(more)


def test_the_contract_is_kept(parent: Path) -> None:
    failed = [outcome for outcome in testing.check_family("package", str(parent)) if outcome.status == "failed"]
    assert not failed
