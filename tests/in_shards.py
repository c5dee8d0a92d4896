"""Runs of a model in shards by the processes that torchrun started, each beside the same run of whole models."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import language
import pytest
import texts
import torch
from runs import Killed
from safetensors.torch import load_file

from hubft import Job, engine
from hubft.base.errors import Silent
from hubft.base.whole import local
from hubft.job import Adapting, Compute, Head, Recipe
from hubft.machine.ranks import Ranks, joining
from hubft.run import training
from hubft.run.folder import Run
from hubft.train import loop

FIT = loop.fit
STOP = 8  # the step after which a run dies


def jobs(folder: Path) -> dict[str, Job]:
    """Return the jobs by name: with stages that thaw, parts of a batch that one process has more of than another, and
    all that changes weights beside the gradient; and with adapters on frozen and tied weights."""
    computed = Compute("cpu", workers=0, checkpoint_every=1)
    drawn = Recipe(
        "head,last:1@0.3,all@0.6", False, 3, batch_size=4, accumulate=4, lr=0.01, anchor=0.1, l1=1e-4, keep="best"
    )
    few = replace(drawn, train="all,-norms", epochs=2, accumulate=1, anchor=0.0, averaging=0.0)
    again = replace(computed, checkpoint_activations=True, checkpoint_every=0)
    classifier = Job(f"transformers:{folder / 'bert'}", folder / "texts.csv", recipe=drawn, compute=computed)
    writer = Job(f"transformers:{folder / 'llama'}", folder / "documents.jsonl", recipe=few, compute=again)
    return {
        "texts": replace(classifier, head=Head((5,), 0.2)),
        "language": replace(writer, adapting=Adapting("lora")),
    }


def made(folder: Path) -> None:
    """Make the models and their data: of 17 tokens and of 33 numbers, which three processes cannot share evenly."""
    texts.model(folder / "bert", initializer_range=0.2)
    texts.table(folder / "texts.csv", 25)
    language.model(folder / "llama")
    language.table(folder / "documents.jsonl", 24)


def watched(ranks: Ranks, die: bool = False) -> Any:
    """Return what trains as the loop does, and looks at what this process holds."""

    def fit(pm: Any, state: loop.State, *its: Any) -> Iterator[loop.Step]:
        numbers = [(local(one).numel(), one.numel()) for one in state.model.parameters()]
        own, whole = map(sum, zip(*numbers, strict=True))
        assert own <= whole / ranks.world + len(numbers) * 40, "no process has more than its share of each tensor"
        for step in FIT(pm, state, *its):
            yield step
            if die and step.number == STOP:
                raise Killed

    return fit


def trained(job: Job, output: Path, ranks: Ranks, die: bool = False) -> Run:
    """Return the run of a job, after all processes have done their part of it; it goes on where it is there."""
    loop.fit = watched(ranks, die) if job.compute.shard else FIT
    with suppress(Silent, Killed):
        if output.exists():
            engine.resume(output, ranks=ranks)
        else:
            engine.finetune(replace(job, output=str(output)), ranks=ranks)
    ranks.told(None)
    return Run(output)


def compare(run: Run, other: Run) -> None:
    """Check that two runs learned the same, but for the order of sums."""
    for one, two in zip(run.history(), other.history(), strict=True):
        for key in ("loss", "val_loss", "gradient_norm"):
            assert one[key] == pytest.approx(two[key], rel=1e-4, abs=1e-6), (key, one, two)
    ours, theirs = (load_file(next(its.package.glob("*model.safetensors"))) for its in (run, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=1e-3, atol=1e-4), name


def same(file: Path, other: Path) -> None:
    """Check that two files hold the same bits; the order of facts in a header is drawn."""
    one, two = load_file(file), load_file(other)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one), file


def clocks(ranks: Ranks) -> Any:
    """Return what stands for `time`: by it each process but the first finds that a checkpoint is due."""
    looks = count()
    return SimpleNamespace(monotonic=lambda: 10.0 * ranks.rank * next(looks))


def main() -> None:
    folder = Path(sys.argv[1])
    with joining() as ranks, torch.random.fork_rng():
        training.time = clocks(ranks)
        for name, job in jobs(folder).items():
            split = replace(job, compute=replace(job.compute, shard=True))
            whole = trained(job, folder / f"{name}-whole", ranks)
            run = trained(split, folder / f"{name}-split", ranks)
            if ranks.first:
                compare(run, whole)
            if name != "texts":
                continue
            died = trained(split, folder / f"{name}-again", ranks, die=True)
            assert not died.package.exists()
            trained(split, died.folder, ranks)
            if ranks.first:
                files = sorted(run.checkpoints.glob("*/*.safetensors")) + list(run.package.glob("*.safetensors"))
                assert len(files) == 2 * ranks.world + 2
                for file in files:
                    same(file, died.folder / file.relative_to(run.folder))
        if ranks.first:
            print(f"equal on {ranks.world}")


if __name__ == "__main__":
    main()
