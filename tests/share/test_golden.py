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


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_package_of_earlier_code_proves_itself(folder: Path) -> None:
    package = load.package(folder)
    model, apart = load.proved(package)
    assert apart < 1e-4
    assert model.hubft["classes"] == ["daisy", "rose", "tulip"] and model.preprocess is not None
    assert package.manifest.preprocess == Preprocess(size=(32, 32), resize=36)


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_package_of_earlier_code_answers(folder: Path, tmp_path: Path) -> None:
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "a.png")
    [answer] = inference.predict(load.package(folder), tmp_path / "a.png")
    assert answer.said["probabilities"].keys() == {"daisy", "rose", "tulip"}
    assert torch.tensor(list(answer.said["probabilities"].values())).sum().item() == pytest.approx(1)
