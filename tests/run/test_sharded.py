"""A model in shards: the run of whole models, to rounding; what it cannot do is refused in one line."""

import json
import shutil
import subprocess
from pathlib import Path

import in_shards
import pictures
import pytest
import texts
import torch
import toy_family
from commands import Hubft
from extras import needs
from forked import Python

from hubft.base.errors import JobError
from hubft.run import sharding
from hubft.train import sharded

transformers = needs("transformers", "transformers")
HERE = Path(in_shards.__file__)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


def test_three_processes_learn_in_shards_what_they_learn_whole_and_go_on_to_the_same_bits(
    tmp_path: Path, python: Python
) -> None:
    """Stages that thaw, parts of a batch that not all have, averages, adapters, tied weights, activations again."""
    needs("peft", "peft")
    in_shards.made(tmp_path)
    done = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", str(HERE), str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    assert "equal on 3" in done.stdout


def test_a_run_in_shards_is_stopped_and_goes_on_with_another_number(
    tmp_path: Path, hubft: Hubft, python: Python, executable: str
) -> None:
    model, data, run = texts.model(tmp_path / "tiny"), texts.table(tmp_path / "texts.csv", 40), tmp_path / "run"
    words = f"transformers:{model} {data} --epochs 10 --batch-size 8 --lr 0.003 --workers 0 --shard --output {run}"
    command = [executable, "-m", "hubft", "finetune", *words.split(), "--devices", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.terminate()
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    [newest] = sorted((run / "checkpoints").glob("step-*"))[-1:]
    assert len(list(newest.glob("*.safetensors"))) == 2
    damaged = shutil.copytree(newest, newest.with_name("step-99999999"))
    next(damaged.glob("*.safetensors")).write_bytes(b"of another run")
    alone = hubft("finetune", "--resume", run, "--devices", "1")
    assert (
        alone.code == 2 and "--shard splits a model over processes, and here is one alone: add --devices 2" in alone.err
    )
    done = python("-m", "hubft", "finetune", "--resume", str(run), "--devices", "3")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "skipped checkpoint step-99999999: the bytes of" in done.stdout
    assert f"going on from {newest.name}" in done.stdout and "there are 3 now" in done.stdout
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 11))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert hubft("predict", run, "the lovely film").code == 0, "the package is whole, and gives what it states"


def test_a_model_that_names_no_layers_and_a_device_that_cannot_gather_are_refused(tmp_path: Path) -> None:
    loaded = toy_family.load("small", True)
    with pytest.raises(JobError, match="toy:small names no layers that can be gathered one by one, as models of trans"):
        sharding.suits(loaded, torch.device("cpu"), "toy:small")
    with pytest.raises(JobError, match="shard is for cpu and cuda, and the device is mps: leave it out"):
        sharding.suits(loaded, torch.device("mps"), "toy:small")
    model = transformers.AutoModel.from_pretrained(texts.model(tmp_path / "tiny"))
    names = [type(layer).__name__ for layer in sharded.layers(model)]
    assert sorted(names) == ["BertEmbeddings", "BertLayer", "BertLayer"]
    model.pooler.dense.weight = model.encoder.layer[0].attention.output.dense.weight
    assert model.encoder.layer[0] not in sharded.layers(model), "it is gathered with what shares its weights"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--shard splits a model over processes, and here is one alone: add --devices 2"),
        (("--exact",), "--exact adds whole gradients in its own order, and --shard leaves none whole"),
        (("--compile", "on"), "--compile on: --shard computes layers one by one: leave it out"),
        (("--precision", "fp16"), "--precision fp16: --shard scales no loss: take bf16 or fp32"),
        (("--compress", "int8"), "--compress int8 beside --shard: it takes a model that is whole in one process; "),
        (("--adapter", "lora", "--quantize-base", "int8"), "--quantize-base int8 beside --shard: packed weights are"),
        (("--budget", "5m"), "--budget 5m beside --shard: it is kept by measuring a whole model; write --epochs"),
        (("--wise",), "--wise beside --shard: it needs a probe, which is solved on a whole model; leave it out"),
        (("--epochs", "0"), "--epochs 0 beside --shard: nothing trains that could be in shards"),
        (("--optimizer", "lamb"), "--optimizer lamb beside --shard: it is not proved to change each number by itself"),
    ],
)
def test_what_does_not_go_with_shards_is_told(more: tuple[str, ...], said: str, hubft: Hubft, data: Path) -> None:
    ran = hubft("finetune", "toy:small", data, "--shard", *more, "--output", data.parent / "run")
    assert ran.code == 2 and ran.err.startswith(f"hubft: {said}") and ran.err.count("\n") == 1, ran.err
    assert not (data.parent / "run").exists()
