"""The swapped labels of the benchmark: as many as were asked for, in other classes, the same for the same seed."""

import importlib.util
import sys
from pathlib import Path

import pictures
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def techniques(monkeypatch):
    """The script, and those it imports, under their names only while the test runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("datasets", "techniques"):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, found)
        spec.loader.exec_module(found)
    for name in ("accuracy", "kept", "machine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return found


def test_a_share_of_the_images_lies_in_another_class(techniques, tmp_path: Path) -> None:
    data = pictures.folder(tmp_path / "insects", train=12, val=4)
    samples = techniques.drawn(data, 40, 3)
    assert len(samples) == 40
    wrong = techniques.write(samples, tmp_path / "one", 0.1, 16, 3)
    again = techniques.write(samples, tmp_path / "two", 0.1, 16, 3)
    assert len(wrong) == 4 and wrong == again
    labels = {f"{number:05}.png": sample.label for number, sample in enumerate(samples)}
    for path in (tmp_path / "one").glob("*/*.png"):
        place = path.relative_to(tmp_path / "one").as_posix()
        assert (path.parent.name != labels[path.name]) == (place in wrong)
        with Image.open(path) as image:
            assert image.size == (16, 16)
