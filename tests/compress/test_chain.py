"""Methods one after the other: each measured beside the uncompressed model, and left out where it costs too much."""

import json
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
from runs import heard, job, listening
from torch import nn

from hubft import Compressed, engine
from hubft.base.errors import FamilyError, JobError
from hubft.job import Labels
from hubft.share import load
from hubft.tasks.metrics import Measured
from hubft.tasks.paired import lost


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects", train=24, val=12)


def break_head(model: nn.Module, method: str) -> nn.Module | None:
    if method != "zero":
        return None
    nn.init.zeros_(model.get_parameter("head.weight"))
    return model


def results(result: engine.Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result.run.report / "results.json").read_text())
    return found


def test_a_method_that_costs_too_much_is_reported_and_left_out(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(monkeypatch, compress=break_head)
    asked = job(insects, tmp_path / "run", compress="zero,int8", max_drop=5.0, recipe={"epochs": 8})
    result, console = heard(asked)
    first, second = results(result)["compression"]
    assert (first["method"], first["held"], second["method"], second["held"]) == ("zero", False, "int8", True)
    assert first["accuracy"]["value"] == pytest.approx(1 / 3) and first["change"]["value"] < -0.05
    assert second["weights_bytes"] < first["weights_bytes"] / 2
    assert result.uncompressed and second["accuracy"]["value"] == result.metrics.head.value
    manifest = json.loads((result.run.package / "hubft.json").read_text())
    assert manifest["job"]["compress"] == "int8" and manifest["job"]["max_drop"] == 5.0
    model = load.load(result.run.folder, prove=True)
    assert model.get_parameter("head.weight").any()
    failed, kept = console.about("compress")
    assert "it lost more than 5 points and is left out" in failed and "left out" not in kept
    assert "[" in failed.partition("to the uncompressed")[0].partition(", ")[2]  # the interval of the difference


def test_where_nothing_holds_the_package_is_the_uncompressed_model(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(monkeypatch, compress=break_head)
    recipe = {"epochs": 8}
    result, console = heard(job(insects, tmp_path / "a", compress="zero", max_drop=5.0, recipe=recipe))
    assert console.about("note: no method held") and result.uncompressed is None
    plain = engine.finetune(job(insects, tmp_path / "b", recipe=recipe))
    one, other = (load.load(r.run.folder).state_dict() for r in (result, plain))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((result.run.package / "hubft.json").read_text())["job"]["compress"] == "none"


def test_without_a_limit_everything_is_reported_and_kept(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(monkeypatch, compress=break_head)
    result = engine.finetune(job(insects, tmp_path / "run", compress="zero"))
    assert [step["held"] for step in results(result)["compression"]] == [True]
    assert not load.load(result.run.folder).get_parameter("head.weight").any()


def test_a_delta_keeps_what_it_can_take_from_its_base(insects: Path, tmp_path: Path) -> None:
    """What is frozen is not rounded: it takes no byte as it is."""
    for method in ("none", "bf16", "int8"):
        engine.finetune(job(insects, tmp_path / method, compress=method, package="delta", recipe={"train": "head"}))
    manifests = [json.loads((tmp_path / m / "package" / "hubft.json").read_text()) for m in ("none", "bf16", "int8")]
    assert manifests[0]["delta"] == manifests[1]["delta"] == manifests[2]["delta"]
    assert len(manifests[0]["delta"]) == 12
    state, whole = (load.load(tmp_path / m, prove=True).state_dict() for m in ("int8", "none"))
    assert torch.equal(state["stem.0.weight"], whole["stem.0.weight"])
    assert not torch.equal(state["head.weight"], whole["head.weight"])


def test_a_finished_package_is_compressed_without_training(insects: Path, tmp_path: Path) -> None:
    first = engine.finetune(job(insects, tmp_path / "first"))
    small = engine.compress(str(first.run.folder), insects, "int8", tmp_path / "small")
    assert small.uncompressed == first.metrics
    sizes = [(r.run.package / "model.safetensors").stat().st_size for r in (first, small)]
    assert sizes[1] < 0.5 * sizes[0]
    one, other = (load.load(r.run.folder, prove=True).state_dict() for r in (first, small))
    assert torch.equal(one["head.bias"], other["head.bias"]) and not torch.equal(
        one["head.weight"], other["head.weight"]
    )


KINDS = {"rating": "regression", "tags": "multilabel", "kind": "classification"}


@pytest.mark.parametrize("target", KINDS)
def test_packages_of_every_kind_of_labels_are_compressed(tmp_path: Path, target: str) -> None:
    folder = pictures.folder(tmp_path / "d", train=16, val=6)
    lines = ["image,rating,tags,kind"]
    for place, path in enumerate(sorted(folder.rglob("*.png"))):
        lines.append(
            f"{path},{3 + 0.37 * place:.2f},{('round', 'square', 'round;small')[place % 3]},{path.parent.name}"
        )
    (tmp_path / "t.csv").write_text("\n".join(lines))
    labels = Labels(target=(target,), task=KINDS[target])
    first = engine.finetune(job(tmp_path / "t.csv", tmp_path / "first", labels=labels, recipe={"epochs": 1}))
    small = engine.compress(str(first.run.folder), tmp_path / "t.csv", "int8", tmp_path / "small")
    before, after = first.metrics.head, small.uncompressed
    assert after and after.head.value == pytest.approx(before.value, rel=1e-4)
    assert load.load(small.run.folder, prove=True) is not None


def test_a_new_head_that_would_never_learn_is_refused(insects: Path, tmp_path: Path) -> None:
    first = engine.finetune(job(insects, tmp_path / "first", recipe={"epochs": 0}))
    others = pictures.folder(tmp_path / "others", ("cats", "dogs"))
    with pytest.raises(
        JobError, match="epochs 0: must be one or more where there is no probe and no head of a package"
    ):
        engine.compress(str(first.run.folder), others, "int8", tmp_path / "small")


def test_records_that_nobody_can_do_again_are_refused_before_the_training(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compress(model: nn.Module, method: str) -> Compressed | None:
        return Compressed(model, ({"kind": "mine"},)) if method == "mine" else None

    listening(monkeypatch, compress=compress)
    with pytest.raises(FamilyError, match=r"`compress` gave for 'mine' .* a record of kind 'mine'"):
        engine.finetune(job(insects, tmp_path / "run", compress="mine"))
    assert not (tmp_path / "run").exists()


def test_points_are_hundredths_or_percent_of_an_error() -> None:
    assert lost(Measured(-0.02), Measured(0.9)) == pytest.approx(2.0)
    assert lost(Measured(0.1, better="lower"), Measured(2.0, better="lower")) == pytest.approx(5.0)
    assert lost(Measured(0.0, better="lower"), Measured(0.0, better="lower")) == 0.0


def test_a_limit_without_a_method_is_refused(insects: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="max_drop is the limit of compress"):
        engine.finetune(job(insects, tmp_path / "run", max_drop=1.0))
