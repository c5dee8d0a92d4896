"""Checkpoints: safetensors and JSON, sealed by a manifest, complete or not there at all.

checkpoints/step-00000042/
    state.safetensors   model/NAME, average/NAME, optimizer/PARAMETER/KEY
    state.json          step, proof, scaler, and what must not have changed at a resume
    manifest.json       sha256 of both, written last
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hubft import digest
from hubft.errors import CheckpointError
from hubft.files import fsync, write_json
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
    temporary = folder / f".writing-{final.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: t.detach().cpu().contiguous() for name, t in _tensors(state)}, temporary / TENSORS)
    fsync(temporary / TENSORS)
    write_json(temporary / META, {"step": state.step, "proof": state.proof, **meta})
    write_json(temporary / MANIFEST, {name: digest.of_file(temporary / name) for name in (TENSORS, META)})
    fsync(temporary)
    temporary.rename(final)
    fsync(folder)
    for old in _all(folder)[KEEP:]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest intact checkpoint below `folder`, if any, and a line for each that was skipped.

    Leftovers of an interrupted write are removed.
    """
    for leftover in folder.glob(".writing-*"):
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
    stored: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
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
        for name, tensor in state.average.tensors.items():
            tensor.copy_(stored["average"][name])
    _restore_optimizer(state, stored["optimizer"])
    state.step, state.proof = meta["step"], meta["proof"]
    return meta


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.model.state_dict().items():
        yield f"model/{name}", tensor
    if state.average:
        for name, tensor in state.average.tensors.items():
            yield f"average/{name}", tensor
    for name, parameter in state.model.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            yield f"optimizer/{name}/{key}", torch.as_tensor(value)


def _restore_optimizer(state: State, stored: dict[str, Tensor]) -> None:
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in stored.items():
        name, _, slot = key.rpartition("/")
        by_name.setdefault(name, {})[slot] = tensor
    plain = state.optimizer.state_dict()
    order = [names[p] for group in state.optimizer.param_groups for p in group["params"]]
    plain["state"] = {i: by_name[name] for i, name in enumerate(order) if name in by_name}
    state.optimizer.load_state_dict(plain)


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
