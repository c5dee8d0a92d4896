"""A detector that two processes train: stopped, gone on with by one, to the bits of a run that one process made."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import detectors as made
import pytest
from extras import needs

from hubft import Job, engine
from hubft.base.digest import of_file
from hubft.base.errors import JobError
from hubft.job import Compute, Recipe
from hubft.machine.ranks import Ranks
from hubft.run.folder import Run

needs("faster_coco_eval", "detection")
hubft_transformers = needs("hubft_transformers", "transformers")
FIXED = {"precision": "fp32", "memory_format": "contiguous", "compile": "off"}
COMPUTE = Compute("cpu", workers=0, threads=1, exact=True, checkpoint_every=1, **FIXED)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Job:
    place = tmp_path_factory.mktemp("detector")
    model, table = made.transformer(place / "model", "rt_detr_v2"), made.table(place / "scenes", 24)
    recipe = Recipe(epochs=2, lr=0.002, batch_size=8, train="all,-norms", augment="light")
    return Job(f"transformers:{model}", table, recipe=recipe, compute=COMPUTE, output=place / "one")


def test_two_processes_train_a_detector_and_one_goes_on(asked: Job, tmp_path: Path, executable: str) -> None:
    """Of RT-DETR, which draws noise in its loss, and whose norms nobody trained."""
    one = engine.finetune(asked)
    words = f"finetune {asked.reference} {asked.data} --output {tmp_path / 'two'} --exact --devices 2"
    words += " --epochs 2 --lr 0.002 --batch-size 8 --train all,-norms --augment light"
    words += " --device cpu --workers 0 --threads 1 --checkpoint-every 1"
    words += "".join(f" --{name.replace('_', '-')} {value}" for name, value in FIXED.items())
    command = [executable, "-m", "hubft", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        seen = [next((line for line in process.stdout if line.startswith("epoch 1")), "")]
        process.terminate()
        _, err = process.communicate(timeout=120)
    assert seen[0] and process.returncode == 128 + signal.SIGTERM, err
    run = Run(tmp_path / "two")
    done = engine.resume(run.folder, devices=1)
    for ours, theirs in zip(done.run.history(), one.run.history(), strict=True):
        assert ours["loss"] == theirs["loss"] and ours["map"] == theirs["map"]
    weights = "package/model.safetensors"
    assert of_file(run.folder / weights) == of_file(one.run.folder / weights)
    results = [json.loads((its / "results.json").read_text())["metrics"] for its in (run.report, one.run.report)]
    assert results[0] == results[1]


def test_a_family_that_knows_no_parts_is_refused_in_a_line(
    asked: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hubft_transformers.hubft_family, "api", (1, 4))
    for ranks, exact, begins in ((Ranks(0, 2), False, "--devices 2"), (Ranks(), True, "--exact")):
        job = replace(asked, compute=replace(COMPUTE, exact=exact), output=tmp_path / "run")
        with pytest.raises(JobError) as caught:
            engine.finetune(job, ranks=ranks)
        assert caught.value.typed().startswith(f"{begins}: the family transformers is for hooks before version 1.5")
    assert not (tmp_path / "run").exists()
