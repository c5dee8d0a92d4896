"""Activations that are computed again, and steps that run out of memory."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import nets
import pictures
import pytest
import torch
from runs import heard, job, killed, listening
from torch import Tensor, nn

from hubft import HubftError, Job, Loaded, engine
from hubft.base.batches import count
from hubft.families import checkpointing, defaults, plugins, stages
from hubft.families.build import build
from hubft.job import Head
from hubft.run.folder import Run
from hubft.train import gradient

RAN_OUT = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


def made(reference: str) -> Loaded:
    found = build(
        plugins.manager(reference.partition(":")[0]), Job(reference, "-", head=Head(outputs=3)), pretrained=True
    )
    for module in found.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    stages.train_mode(found.model)
    return found


@contextmanager
def kept(loaded: Loaded) -> Iterator[list[int]]:
    """Give the bytes of what autograd keeps of one pass, each memory once, without parameters, in a list of one."""
    own = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}
    seen: dict[int, int] = {}
    total: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total
    total.append(sum(seen.values()))


def step(loaded: Loaded, images: Tensor) -> dict[str, Tensor]:
    """Return all that a step gives and moves."""
    torch.manual_seed(3)
    outputs = loaded.forward(loaded.model, images)
    outputs.square().mean().backward()
    gradients = {name: p.grad for name, p in loaded.model.named_parameters() if p.grad is not None}
    drawn = {"": torch.rand(2), "outputs": outputs.detach()}
    return drawn | gradients | {f"buffer {name}": buffer.clone() for name, buffer in loaded.model.named_buffers()}


@pytest.mark.parametrize("reference", ["toy:small", "timm:test_vit", "timm:test_efficientnet"])
def test_outputs_gradients_and_statistics_have_the_same_bits(
    reference: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nets.made_up_weights(monkeypatch, tmp_path)
    loaded = made(reference)
    images, plain, saving = torch.randn(4, 3, *loaded.images.size), {}, {}
    before = {name: module.__dict__.get("forward") for name, module in loaded.model.named_modules()}
    state = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    for found, context in ((plain, nullcontext()), (saving, checkpointing.checkpointed(loaded))):
        loaded.model.load_state_dict(state)
        loaded.model.zero_grad()
        with kept(loaded) as bytes_, context as called:
            found |= step(loaded, images)
        found["bytes"] = torch.tensor(bytes_[0])
    assert called and found["bytes"] < 0.8 * plain.pop("bytes")
    saving.pop("bytes")
    assert plain.keys() == saving.keys()
    assert not [name for name, tensor in plain.items() if not torch.equal(tensor, saving[name])]
    assert before == {name: module.__dict__.get("forward") for name, module in loaded.model.named_modules()}


def test_a_run_that_saves_memory_makes_the_same_package(data: Path, tmp_path: Path) -> None:
    runs = [
        engine.finetune(
            job(data, tmp_path / str(saves), recipe={"train": "all"}, compute={"checkpoint_activations": saves})
        ).run
        for saves in (False, True)
    ]
    assert len({(run.package / "model.safetensors").read_bytes() for run in runs}) == 1


def test_a_model_whose_stages_are_no_modules_is_refused(data: Path, tmp_path: Path) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.late, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.late(nn.functional.linear(x, self.body.weight)))

    loaded = replace(made("toy:small"), model=Bare(), stages={name: (name,) for name in ("body", "late", "head")})
    with pytest.raises(
        HubftError, match=r"own:bare calls none of its stages before the last two as a module.*leave it"
    ):
        checkpointing.check(loaded, torch.zeros(2, 3), "own:bare")
    with pytest.raises(HubftError, match=r"compile on settles by itself.*leave it out, or checkpoint_activations"):
        engine.finetune(job(data, tmp_path, compute={"checkpoint_activations": True, "compile": "on"}))


def starving(monkeypatch: pytest.MonkeyPatch, room: int, step: int = 0, everywhere: bool = False) -> list[int]:
    """Have training have memory for so many images at once, from this step on; give the sizes of all that was tried."""
    tried: list[int] = []
    inside: list[bool] = []
    real = gradient.Gradient.of

    def of(self: gradient.Gradient, batch: Any) -> Any:
        inside.append(True)
        return real(self, batch)

    def train_step(model: nn.Module, batch: Any, criterion: Any, forward: Callable[..., Any]) -> Any:
        result = defaults.train_step(model=model, batch=batch, criterion=criterion, forward=forward)
        if (inside or everywhere) and torch.is_grad_enabled():
            tried.append(count(batch))
            if count(batch) > room and len(tried) > step:
                raise RuntimeError(RAN_OUT)
        return result

    monkeypatch.setattr(gradient.Gradient, "of", of)
    listening(monkeypatch, train_step=train_step)
    return tried


def bits(run: Run) -> bytes:
    return (run.package / "model.safetensors").read_bytes()


def test_a_step_without_memory_is_done_again_in_twice_the_parts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = engine.finetune(job(data, tmp_path / "asked", recipe={"accumulate": 4, "train": "all"})).run
    tried = starving(monkeypatch, 4)
    result, console = heard(job(data, tmp_path / "run", recipe={"train": "all"}))
    assert bits(result.run) == bits(asked)
    assert tried[:4] == [12, 6, 3, 3] and set(tried[2:]) == {3}
    assert console.about("memory") == ["memory   ran out in step 1: from there on a batch is computed in 4 parts"]
    assert json.loads(result.run.plan_file.read_text())["parts"] == [[0, 4]]
    stated = json.loads((result.run.report / "results.json").read_text())["memory"]
    assert stated["parts"] == [[0, 4]] and stated["device"] == "cpu" and stated["peak_bytes"] > 2**20
    assert json.loads((result.run.package / "hubft.json").read_text())["settled"]["parts of a batch, for memory"] == 4


def test_a_run_that_ran_out_of_memory_is_resumed_to_the_same_bits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it goes on: there the memory may suffice."""
    options: dict[str, Any] = {"compute": {"checkpoint_every": 2}, "recipe": {"train": "all"}}
    with monkeypatch.context() as patch:
        starving(patch, 6, step=3)
        whole = engine.finetune(job(data, tmp_path / "whole", **options)).run
    with monkeypatch.context() as patch:
        starving(patch, 6, step=3)
        run = killed(job(data, tmp_path / "run", **options), 5, monkeypatch)
    assert json.loads(run.plan_file.read_text())["parts"] == [[3, 2]]
    assert not run.package.exists()
    assert bits(engine.resume(run.folder).run) == bits(whole)


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_step_that_never_fits_is_told(
    everywhere: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training, and where it is measured before."""
    starving(monkeypatch, 0, everywhere=everywhere)
    told = "a step of 2 samples runs" if everywhere else "step 1 ran"
    cures = "try checkpoint_activations, a smaller size or batch_size, or precision bf16"
    with pytest.raises(HubftError, match=f"{told} out of memory.*: {cures}"):
        engine.finetune(job(data, tmp_path / "run"))
