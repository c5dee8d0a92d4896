"""What becomes of a detector by the options of a run: each works, or one line says why not, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import detectors as made
import nets
import packages
import pytest
from commands import Ran, in_folder
from extras import needs

from hubft import Head, Job
from hubft.share import load
from hubft.tasks.boxes import Boxes

needs("faster_coco_eval", "detection")
FIXED = ("--precision", "fp32", "--memory-format", "contiguous", "--compile", "off", "--threads", 1, "--workers", 0)
RUN = ("--device", "cpu", "--size", 64, "--batch-size", 8, "--lr", 0.003, *FIXED)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("home")
    made.table(place / "scenes", 14)
    with pytest.MonkeyPatch.context() as patch:
        made.weights(made.TINY, place, patch)
        yield place


def finetune(home: Path, reference: str, output: Path, *options: object) -> Ran:
    if reference == "transformers":
        folder = home / "yolos"
        reference = f"transformers:{folder if folder.exists() else made.transformer(folder, 'yolos')}"
    return in_folder(home, "finetune", reference, "scenes/boxes.jsonl", *RUN, *options, "--output", output)


@pytest.mark.parametrize(
    ("reference", "options", "said"),
    [
        (f"torchvision:{made.TINY}", "--train head --compress int8 --averaging 0.5", "compress int8: mAP"),
        ("transformers", "--train head --compress int8 --averaging 0.5", "compress int8: mAP"),
        ("transformers", "--keep best --augment strong --train head,last:1", "augmentation strong"),
    ],
)
def test_it_works(reference: str, options: str, said: str, home: Path, tmp_path: Path) -> None:
    """A probe is solved for none, and no features of a frozen part are kept: boxes move with each view of an image."""
    ran = finetune(home, reference, tmp_path / "run", "--epochs", 2, *options.split())
    assert ran.code == 0, ran.err
    assert said in ran.out and "no probe is solved: a detector has a loss of its own" in ran.out
    history = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(history) == 2 and history[0]["loss"] != history[1]["loss"]
    load.load(tmp_path / "run" / "package", prove=True)


@pytest.mark.parametrize("reference", [f"torchvision:{made.TINY}", "transformers"])
def test_an_adapter_trains_in_it(reference: str, home: Path, tmp_path: Path) -> None:
    needs("peft", "peft")
    ran = finetune(home, reference, tmp_path / "run", "--epochs", 1, "--adapter", "lora")
    assert ran.code == 0, ran.err
    assert (tmp_path / "run" / "package" / "adapter_model.safetensors").is_file()
    load.load(tmp_path / "run" / "package", prove=True)


@pytest.mark.parametrize("reference", [f"torchvision:{made.TINY}", "transformers"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--compress prune:0.5", "cannot be pruned"),
        ("--teacher teacher", "--teacher: a detector cannot be distilled"),
        ("--hidden 16", "--hidden (16,): the head of a detector is its own; leave it out"),
        ("--epochs 0", "--epochs 0: must be one or more where there is no --probe"),
        ("--smoothing 0.1", "--smoothing 0.1: it has no meaning for boxes; leave it out"),
    ],
)
def test_what_it_cannot_have_is_said_in_a_line(
    options: str, said: str, reference: str, home: Path, tmp_path: Path
) -> None:
    if "prune" in options:
        needs("torch_pruning", "prune")
    if "teacher" in options and not (home / "teacher").exists():
        job = Job(f"torchvision:{made.TINY}", "-", head=Head(outputs=3))
        packages.write(home / "teacher", job, task=Boxes(("disc", "square", "triangle")))
    refused(finetune(home, reference, tmp_path / "run", *options.split()), said, tmp_path)


def test_a_repository_of_torch_hub_brings_no_loss(home: Path, tmp_path: Path) -> None:
    """Nothing of it runs: what its code would do when it is read is not done."""
    (tmp_path / "detr").mkdir()
    folder = nets.checkout(tmp_path / "detr")
    with (folder / "hubconf.py").open("a") as file:
        file.write(f"\n\nopen({str(tmp_path / 'run')!r}, 'w')\n")
    ran = finetune(home, f"hub:{folder}:small", tmp_path / "run")
    refused(ran, "as transformers:facebook/detr-resnet-50", tmp_path)


def refused(ran: Ran, said: str, place: Path) -> None:
    assert ran.code == 2 and ran.err.count("\n") == 1 and said in ran.err, ran.err
    assert not (place / "run").exists()
