"""Packages that earlier code wrote load and prove for ever. Their bytes stay: a new schema gets a new folder."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from hubft import Preprocess
from hubft.base import digest
from hubft.share import inference, load

GOLDEN = Path(__file__).parents[1] / "golden"
PACKAGES = sorted(path.parent for path in GOLDEN.glob("*/*/hubft.json"))
SUMS = [line.split() for line in (GOLDEN / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]


def test_their_bytes_are_those_that_were_written() -> None:
    there = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("*/*/*")}
    assert {Path(name).as_posix() for _, name in SUMS} == there
    for digest_then, name in SUMS:
        assert digest.of_file(GOLDEN / name) == digest_then, name


ANSWERS = {
    "classification": {"class": str, "probability": float, "probabilities": dict},
    "multilabel": {"labels": list, "probabilities": dict},
    "regression": {"price": float},
    "several": {"kind": dict, "price": dict, "tags": dict},
}
NAMES = {
    "classification": ["daisy", "rose", "tulip"],
    "multilabel": ["blue", "dark", "green", "red"],
    "regression": ["price"],
    "several": ["kind: daisy", "kind: rose", "kind: tulip", "price", "tags: blue", "tags: dark", "tags: green",
                "tags: red"],
}  # fmt: skip


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_package_of_earlier_code_proves_itself(folder: Path) -> None:
    package = load.package(folder)
    model, apart = load.proved(package)
    assert apart < 1e-4
    kind = package.manifest.task.kind
    assert folder.parent.name == "schema1" or kind == folder.name
    assert model.hubft["classes"] == NAMES[kind] and model.hubft["task"]["kind"] == kind
    assert package.manifest.inputs == Preprocess(size=(32, 32), resize=36) and model.preprocess is not None


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_package_of_earlier_code_answers(folder: Path, tmp_path: Path) -> None:
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "a.png")
    package = load.package(folder)
    [answer] = inference.predict(load.opened(package), tmp_path / "a.png")
    assert {name: type(said) for name, said in answer.said.items()} == ANSWERS[package.manifest.task.kind]
    for shares in (answer.said, answer.said.get("kind", {})):
        if "class" in shares:
            total = torch.tensor(list(shares["probabilities"].values())).sum()
            assert total.item() == pytest.approx(1)
