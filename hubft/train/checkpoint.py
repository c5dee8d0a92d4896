"""Checkpoints: safetensors and JSON, sealed by a manifest, complete or not there at all.

checkpoints/step-00000042/
    state.safetensors   model/NAME, average/NAME, adapters/NAME, optimizer/PARAMETER/KEY, group/INDEX/KEY
    state.json          step, proof, scaler, what the optimizer keeps as plain numbers, and what must not have
                        changed at a resume
    manifest.json       sha256 of both, written last
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Parameter

from hubft.base import digest
from hubft.base.errors import CheckpointError
from hubft.base.files import beginning, fsync, save_file, write_json
from hubft.train.loop import State

TENSORS, META, MANIFEST = "state.safetensors", "state.json", "manifest.json"
KEEP = 2  # the newest, and one to fall back on


def save(folder: Path, state: State, meta: dict[str, Any]) -> Path:
    """Write a checkpoint below `folder` and return it; only when it is sealed is an older one removed."""
    final = folder / f"step-{state.step:08}"
    if final.exists():  # a resumed run comes by again with the same bits; one that is not intact goes
        if not _problem(final):
            return final
        shutil.rmtree(final)
    temporary = folder / beginning(final.name)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        save_file(dict(_apart(state)), temporary / TENSORS)
        fsync(temporary / TENSORS)
        own = {"step": state.step, "proof": state.proof, "scaler": state.scaler.state_dict(), **_plain(state)}
        write_json(temporary / META, own | meta)
        write_json(temporary / MANIFEST, {name: digest.of_file(temporary / name) for name in (TENSORS, META)})
        fsync(temporary)
        temporary.rename(final)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync(folder)
    for old in _all(folder)[KEEP:]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest intact checkpoint below `folder`, if any, and a line for each that was skipped.

    Leftovers of an interrupted write are removed.
    """
    for leftover in folder.glob(beginning("*")):
        shutil.rmtree(leftover)
    skipped: list[str] = []
    for path in _all(folder):
        problem = _problem(path)
        if not problem:
            return path, skipped
        skipped.append(f"skipped checkpoint {path.name}: {problem}")
    return None, skipped


def restore(path: Path, state: State) -> dict[str, Any]:
    """Fill a state that `loop.start` made for the same job with a checkpoint, and return its meta.

    :raises CheckpointError: it belongs to another model.
    """
    meta: dict[str, Any] = json.loads((path / META).read_text())
    stored: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in load_file(path / TENSORS).items():
        kind, _, name = key.partition("/")
        stored[kind][name] = tensor
    weights = OrderedDict(stored["model"])
    # versions of modules, which torchvision's MNASNet asks for
    weights._metadata = state.model.state_dict()._metadata  # type: ignore[attr-defined]
    try:
        state.model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the job's model: {str(error).splitlines()[-1].strip()}") from error
    if state.average:
        state.average.include(stored["average"])
        for name, tensor in state.average.tensors.items():
            tensor.copy_(stored["average"][name])
    state.adapters.load_state_dict(stored["adapters"])
    _restore_optimizer(state, stored, meta)
    state.scaler.load_state_dict(meta["scaler"])
    state.step, state.proof = meta["step"], meta["proof"]
    return meta


def _apart(state: State) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors as they are stored, no two in one memory: safetensors refuses that, and a model may be tied."""
    seen: set[int] = set()
    for name, tensor in _tensors(state):
        whole = tensor.detach().cpu().contiguous()
        place = whole.untyped_storage().data_ptr()
        yield name, whole.clone() if place in seen else whole
        seen.add(place)


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.model.state_dict().items():
        yield f"model/{name}", tensor
    if state.average:
        for name, tensor in state.average.tensors.items():
            yield f"average/{name}", tensor
    for name, tensor in state.adapters.state_dict().items():
        yield f"adapters/{name}", tensor
    for name, its in _remembered(state):
        for key, value in its.items():
            if isinstance(value, Tensor):
                yield f"{name}/{key}", value


def _plain(state: State) -> dict[str, Any]:
    """Return what the optimizer keeps as numbers, by name, and which of its tensors stay on the CPU."""
    numbers: dict[str, dict[str, Any]] = {}
    for name, its in _remembered(state):
        numbers[name] = {key: value for key, value in its.items() if not isinstance(value, Tensor)}
    device = next(state.model.parameters()).device
    apart = [name for name, tensor in _tensors(state) if tensor.device != device]
    return {"numbers": {name: its for name, its in numbers.items() if its}, "on_cpu": apart}


def _remembered(state: State) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the optimizer remembers of each parameter, and what it counts for a whole group."""
    for name, parameter in state.trained().items():
        if parameter in state.optimizer.state:
            yield f"optimizer/{name}", state.optimizer.state[parameter]
    given = {"params", "peak_lr", *state.optimizer.defaults}
    for i, group in enumerate(state.optimizer.param_groups):
        yield f"group/{i}", {key: value for key, value in group.items() if key not in given}


def _restore_optimizer(state: State, stored: Mapping[str, dict[str, Tensor]], meta: dict[str, Any]) -> None:
    """Put back what `_remembered` gave, each value in its own type: `Optimizer.load_state_dict` would cast tensors
    to the type of their parameter."""
    device, trained = next(state.model.parameters()).device, state.trained()
    for kind in ("optimizer", "group"):
        for name, tensor in stored[kind].items():
            owner, _, key = name.rpartition("/")
            memory = _memory(state, trained, f"{kind}/{owner}")
            memory[key] = tensor
            if f"{kind}/{name}" not in meta["on_cpu"]:
                memory[key] = tensor.to(device)
                if kind == "optimizer" and tensor.shape == (like := trained[owner]).shape:
                    # in the parameter's order in memory, by which sums go
                    memory[key] = torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
    for name, its in meta["numbers"].items():
        _memory(state, trained, name).update(its)


def _memory(state: State, trained: Mapping[str, Parameter], name: str) -> dict[str, Any]:
    kind, _, owner = name.partition("/")
    if kind == "group":
        return state.optimizer.param_groups[int(owner)]
    its: dict[str, Any] = state.optimizer.state[trained[owner]]
    return its


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _problem(path: Path) -> str:
    try:
        sealed = json.loads((path / MANIFEST).read_text())
        for name in (TENSORS, META):
            if digest.of_file(path / name) != sealed[name]:
                return f"the bytes of {name} are not those that were written"
    except (OSError, ValueError, KeyError) as error:
        return f"incomplete ({error})"
    return ""
