"""The family `hub`: any classifier of a torch.hub repository.

    hub:owner/repo:entry, hub:owner/repo@ref:entry      a repository on GitHub, fetched as torch.hub.load does
    hub:/path/to/checkout:entry                         a folder with a hubconf.py

**This runs the repository's code**, with trust_repo=True: naming it is the consent. Pin a commit with `@ref`. Nothing
is known of such a model but what it shows: its head is the last Linear that a forward pass uses, its stages are its
children in order of use, its preprocessing is what it carries, else ImageNet's usual.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hubft import hookimpl, hub_lock, network, structure
from hubft.errors import FamilyError, HubftError, suggest
from hubft.hookspecs import Base, Loaded, Preprocess
from hubft.plain import from_dict

hubft_family = {"api": (1, 0), "foreign_code": True}

IMAGENET = Preprocess(size=(224, 224), resize=256)


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    """Return what the entry returns; a flag `pretrained` or `weights` is handed over where the entry has one."""
    where, _, entry = name.rpartition(":")
    if not where:
        raise FamilyError(f"hub:{name} names no entry: write hub:owner/repo:entry or hub:/path/to/checkout:entry")
    try:
        folder, ref = _checkout(where)
        flags = _flags(_entry(folder, entry), pretrained)
        model = torch.hub.load(str(folder), entry, source="local", **flags)
    except HubftError:
        raise
    except (Exception, SystemExit) as error:  # the entry is anyone's code, and may fail in any way
        raise FamilyError(f"hub:{name} failed: {_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise FamilyError(f"hub:{name} gave a {type(model).__name__}, not a torch.nn.Module")
    try:
        preprocess = _preprocess(model)
    except HubftError as error:
        raise FamilyError(f"hub:{name}: {error}") from error
    head, order = _analysed(name, model, preprocess)
    stages = structure.stages(model, structure.children(model, [head], order), [head])
    return Loaded(model, head, stages, preprocess, Base(f"hub:{name}", revision=ref))


def _checkout(where: str) -> tuple[Path, str]:
    """Return the folder of a repository, fetched if need be, and the ref that was asked for."""
    folder = Path(where).expanduser()
    if where.startswith((".", "~")) or folder.is_absolute():
        if not (folder / "hubconf.py").is_file():
            raise FamilyError(f"{folder} has no hubconf.py")
        return folder, ""
    repository, _, ref = where.partition("@")
    if repository.count("/") != 1:
        raise FamilyError(f"{where!r} is neither owner/repo on GitHub nor a path; a path starts with / or ./ or ~")
    with hub_lock():
        kept = _cached(repository, ref)
        why = network.unreachable(f"https://github.com/{repository}") if not (kept and ref) else ""
        if why and not kept:
            raise FamilyError(f"{why}, and {repository} is not in the cache of torch.hub")
        if not why:
            torch.hub.list(f"{repository}:{ref}" if ref else repository, trust_repo=True, verbose=False)  # fetches it
            kept = _cached(repository, ref)
    if kept:
        return kept, ref
    raise FamilyError(f"torch.hub fetched {where} and left no folder for it in {torch.hub.get_dir()}")


def _cached(repository: str, ref: str) -> Path | None:
    """Return the folder that torch.hub keeps of a repository, by the name that it gives to its folders."""
    for candidate in [ref] if ref else ["main", "master"]:
        folder = Path(torch.hub.get_dir()) / f"{repository}/{candidate}".replace("/", "_")
        if folder.is_dir():
            return folder
    return None


def _entry(folder: Path, entry: str) -> Callable[..., Any]:
    with _on_path(folder):
        spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    entries = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    if entry not in entries:
        raise FamilyError(f"{folder} has no entry {entry!r}; it has {', '.join(entries)}.{suggest(entry, entries)}")
    found: Callable[..., Any] = getattr(module, entry)
    return found


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _flags(entry: Callable[..., Any], pretrained: bool) -> dict[str, Any]:
    known = inspect.signature(entry).parameters
    if "pretrained" in known:
        return {"pretrained": pretrained}
    if "weights" in known:
        return {"weights": "DEFAULT" if pretrained else None}
    return {}


def _preprocess(model: Any) -> Preprocess:
    """Return the preprocessing that a model carries: hubft's own, a transform, or a timm-like configuration."""
    facts = getattr(model, "hubft", None)
    if isinstance(facts, Mapping) and "preprocess" in facts:
        return from_dict(Preprocess, facts["preprocess"], "model.hubft['preprocess']")
    transform = getattr(model, "preprocess", None)
    if hasattr(transform, "transforms") or hasattr(transform, "crop_size"):
        return structure.preprocess_of_transform(transform)
    for name in ("pretrained_cfg", "default_cfg"):
        if isinstance(config := getattr(model, name, None), Mapping):
            return structure.preprocess_of_config(config)
    return IMAGENET


def _analysed(name: str, model: nn.Module, preprocess: Preprocess) -> tuple[str, dict[str, int]]:
    """Return the name of the last Linear of a forward pass, and in which order the pass enters the modules.

    :raises FamilyError: the pass fails, or does not end in a Linear.
    """
    order: dict[str, int] = {}
    last: list[Any] = ["", None]

    def enter(label: str, *_: Any) -> None:
        order.setdefault(label, len(order))

    def leave(label: str, module: nn.Module, _: Any, outputs: Any) -> None:
        if isinstance(module, nn.Linear):
            last[:] = label, outputs

    handles = []
    try:
        for label, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(partial(enter, label)))
            handles.append(module.register_forward_hook(partial(leave, label)))
        outputs = _forward(model, torch.zeros(1, 3, *preprocess.size))
    except Exception as error:  # anyone's code again
        raise FamilyError(f"hub:{name}: its forward pass failed: {_one_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    head, made = last
    if not head or not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape != made.shape:
        raise FamilyError(f"hub:{name} is no classifier: it does not end in a Linear that gives [batch, outputs]")
    return head, order


@torch.no_grad()
def _forward(model: nn.Module, inputs: Tensor) -> Any:
    """Return the model's outputs in eval mode. Parameters without memory are zeros: only the way through matters."""
    zeros = {n: torch.zeros_like(p, device="cpu") for n, p in model.named_parameters() if p.is_meta}
    modes = {module: module.training for module in model.modules()}
    try:
        return functional_call(model.eval(), zeros, inputs)
    finally:
        for module, training in modes.items():
            module.training = training


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
