"""Checkpoints: safetensors and JSON, sealed by a manifest, complete or not there at all.

checkpoints/step-00000042/
    state.safetensors   model/NAME, average/NAME, adapters/NAME, optimizer/PARAMETER/KEY, group/INDEX/KEY
    state.json          step, proof, scaler, what the optimizer keeps as plain numbers, and what must not have
                        changed at a resume
    manifest.json       sha256 of both, written last

Where a model is in shards, each process has a file of its own in place of state.safetensors (`hubft.train.shards`).
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
from hubft.machine.ranks import ALONE, Ranks
from hubft.train import shards
from hubft.train.loop import State

TENSORS, META, MANIFEST = "state.safetensors", "state.json", "manifest.json"
KEEP = 2  # the newest, and one to fall back on


def save(folder: Path, state: State, meta: dict[str, Any], ranks: Ranks = ALONE) -> Path:
    """Write a checkpoint below `folder` and return it; only when it is sealed is an older one removed.

    :param ranks: the processes whose shards it is of; each must call it.
    """
    final = folder / f"step-{state.step:08}"
    temporary = folder / beginning(final.name)
    if ranks.same(lambda: _begun(final, temporary)):
        return final
    try:
        sealed = _written(temporary, state, ranks)
        if ranks.first:
            own = {"step": state.step, "proof": state.proof, "scaler": state.scaler.state_dict(), **_plain(state)}
            write_json(temporary / META, own | meta)
            write_json(temporary / MANIFEST, sealed | {META: digest.of_file(temporary / META)})
            fsync(temporary)
            temporary.rename(final)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if ranks.first:
        fsync(folder)
        for old in _all(folder)[KEEP:]:
            shutil.rmtree(old)
    return final


def _begun(final: Path, temporary: Path) -> bool:
    """Tell whether the checkpoint is there, as where a resumed run comes by again with the same bits; else make room:
    one that is not intact goes."""
    if final.exists():
        if not _problem(final):
            return True
        shutil.rmtree(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return False


def _written(folder: Path, state: State, ranks: Ranks) -> dict[str, str]:
    """Write the tensors; return the sha256 of each file."""
    if not ranks.alone:
        return shards.save(folder, _tensors(state, once=True), ranks)
    save_file(dict(_apart(state)), folder / TENSORS)
    fsync(folder / TENSORS)
    return {TENSORS: digest.of_file(folder / TENSORS)}


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
    if (path / TENSORS).exists():
        _fill(path, state, meta)
    else:
        _fill_shards(path, state, meta)
    state.scaler.load_state_dict(meta["scaler"])
    state.step, state.proof = meta["step"], meta["proof"]
    return meta


def _fill(path: Path, state: State, meta: dict[str, Any]) -> None:
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


def _fill_shards(path: Path, state: State, meta: dict[str, Any]) -> None:
    its, trained = shards.stored(path), state.trained()
    now = dict(_tensors(state, once=True))
    known = {name: (tensor.shape, tensor.dtype) for name, tensor in now.items() if name.startswith("model/")}
    if odd := known.items() ^ {(name, one) for name, one in its.items() if name.startswith("model/")}:
        raise CheckpointError(
            f"{path} does not fit the job's model: {min(odd, key=str)[0].partition('/')[2]} is another"
        )
    device = next(state.model.parameters()).device
    for name, (shape, dtype) in its.items():
        kind, _, owner = name.partition("/")
        if kind == "average" and state.average:
            state.average.include([owner])
        elif kind in ("optimizer", "group"):
            owner, _, key = name.rpartition("/")
            like = trained.get(owner.partition("/")[2])
            if like is not None and like.shape == shape:
                made = torch.zeros_like(like, dtype=dtype, requires_grad=False)
            else:
                made = torch.zeros(shape, dtype=dtype, device="cpu" if name in meta["on_cpu"] else device)
            _memory(state, trained, owner)[key] = made
    shards.load(path, dict(_tensors(state, once=True)))
    for name, numbers in meta["numbers"].items():
        _memory(state, trained, name).update(numbers)


def _apart(state: State) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors as they are stored, no two in one memory: safetensors refuses that, and a model may be tied."""
    seen: set[int] = set()
    for name, tensor in _tensors(state):
        whole = tensor.detach().cpu().contiguous()
        place = whole.untyped_storage().data_ptr()
        yield name, whole.clone() if place in seen else whole
        seen.add(place)


def _tensors(state: State, once: bool = False) -> Iterator[tuple[str, Tensor]]:
    """:param once: leave out the further names of tensors that have several."""
    seen: set[int] = set()
    for name, tensor in state.model.state_dict(keep_vars=True).items():
        if not (once and id(tensor) in seen):
            yield f"model/{name}", tensor.detach()
        seen.add(id(tensor))
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
        if not sealed.keys() - {META}:
            return f"{MANIFEST} names no tensors"
        for name in sorted({META, *sealed}):
            if digest.of_file(path / name) != sealed[name]:
                return f"the bytes of {name} are not those that were written"
    except (OSError, ValueError, KeyError) as error:
        return f"incomplete ({error})"
    return ""
