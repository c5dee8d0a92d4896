"""The family `timm`: every model of timm, with a classifier or without, by timm's own names: `timm:resnet18.a1_in1k`.

Weights come from the Hugging Face Hub as safetensors, and from nowhere else: the older `.pth` files are pickles.
`@COMMIT` after the name pins the repository's commit.

A model without a classifier, as of self-supervised weights, has an Identity in its place, and gets its head there: it
stays the plain class of timm. timm's encoders have no such place. They are the `body` of a torch.nn.Sequential, in
which a head is put on their features; timm alone cannot build that, so their packages have no config.json.
"""

from __future__ import annotations

import json
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from timm.models import get_pretrained_cfg, group_parameters
from timm.models._hub import save_config_for_hf
from torch import nn

from hubft import hookimpl
from hubft.base.errors import FamilyError, suggest
from hubft.base.network import PATIENCE
from hubft.families import defaults, heads, pooling, resetting, stated, structure
from hubft.families.build import unfilled
from hubft.hookspecs import Base, Loaded
from hubft.inputs import Framed
from hubft.job import Head
from hubft.publish import hub

hubft_family = {"api": (1, 0), "example": "test_efficientnet"}


def names() -> list[str]:
    """Return timm's own list of the weights that are published."""
    return [str(name) for name in timm.list_pretrained()]


@hookimpl
def load(name: str, pretrained: bool) -> Loaded:
    """Return a timm model; its head is timm's `classifier`, its stages are timm's own groups.

    :raises FamilyError: an unknown name, weights that cannot be had, or an encoder that gives no features.
    """
    known, _, commit = name.partition("@")
    config = _config(known)
    file, revision = _weights(name, config, commit) if pretrained else ("", commit)
    # timm's own loader reads the file, so its filters for older names apply; the path is of this machine only
    overlay = {"file": file} if file else None
    try:
        model: Any = timm.create_model(known, pretrained=pretrained, pretrained_cfg_overlay=overlay)
    except SafetensorError as error:
        raise FamilyError(f"timm:{name}: {file} is damaged ({error}); delete it and load again") from error
    model.pretrained_cfg.pop("file", None)
    preprocess = stated.preprocess_of_config(config)
    if names := _heads(model):
        stages = _stages(model, names)
    else:
        names = [pooling.HEAD]
        try:
            model, stages = pooling.bodied(model, heads.run(model, preprocess.shape))
        except FamilyError as error:
            raise FamilyError(f"timm:{name}: ", *error.args) from error
    tag = f".{config['tag']}" if config.get("tag") else ""
    base = Base(
        reference=f"timm:{config['architecture']}{tag}{'@' + commit if commit else ''}",
        revision=revision,
        license=config.get("license") or "",
        hub=(config.get("hf_hub_id") or "").partition("@")[0],
    )
    return Loaded(model, names[0], stages, preprocess, base)


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded | None:
    """Give every head of a distilled model its own fresh layers; a head that is a convolution stays one.

    A model without a head gets one; that of an encoder is left to the core.
    """
    model: Any = loaded.model
    if type(model) is nn.Sequential:
        return None
    if isinstance(model.get_submodule(loaded.head), nn.Identity):
        return _headed(loaded, head)
    for name in _heads(model):
        old = model.get_submodule(name)
        if isinstance(old, nn.Conv2d):
            model.set_submodule(name, defaults.convolution(old.in_channels, head))
        else:
            assert isinstance(old, nn.Linear)
            model.set_submodule(name, defaults.linear(old.in_features, head))
    model.num_classes = head.outputs
    plain = not head.hidden and not head.dropout  # timm builds one layer a head
    return replace(loaded, config=_hub_config(model, loaded.images) if plain else {})


def _headed(loaded: Loaded, head: Head) -> Loaded:
    """Return a model whose classifier is an Identity with a head there; first what pools, if no setting of timm does.

    What pools is a part of the head then, so no tensor changes its name. timm has no such head: there is no config.
    """
    model: Any = loaded.model
    name = loaded.head
    width, pool = resetting.put(loaded, head.pool)
    layers = defaults.linear(width, head)
    if pool is None:
        model.set_submodule(name, layers)
    else:
        model.set_submodule(name, nn.Sequential(OrderedDict({pooling.POOL: pool, "layers": layers})))
        name = f"{name}.layers"
    model.num_classes = head.outputs
    adapted = replace(loaded, head=name, stages=_stages(model, [name]))  # a pooling with parameters may be gone
    plain = pool is None and not head.hidden and not head.dropout
    config = _hub_config(model, loaded.images) if plain else {}
    return replace(adapted, config=config if plain and _builds(config, adapted) else {})


def _builds(config: Mapping[str, Any], loaded: Loaded) -> bool:
    """Tell whether timm builds this very model by this config.json; of one without memory, that is taken for so."""
    if any(parameter.is_meta for parameter in loaded.model.parameters()):
        return True
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({**config, "label_names": []}), encoding="utf-8")
        other = unfilled(lambda: replace(loaded, model=timm.create_model(f"local-dir:{folder}"))).model
    state, shape = loaded.model.state_dict(), loaded.images.shape
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in other.state_dict().items()}:
        return False
    other.load_state_dict(state, assign=True)
    return heads.same(*(heads.run(model, shape).outputs for model in (loaded.model, other)))


def _hub_config(model: Any, preprocess: Framed) -> dict[str, Any]:
    """Return the config.json by which `timm.create_model("hf-hub:owner/name")` builds this model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        save_config_for_hf(model, str(path), data_config=stated.config_of_preprocess(preprocess))
        return {**json.loads(path.read_text(encoding="utf-8")), "label_names": None}


def _config(name: str) -> dict[str, Any]:
    architecture = name.partition(".")[0]
    known = {*timm.list_models(), *timm.list_models(include_tags=True)}
    if name not in known:
        near = {other for other in known if other.startswith(f"{architecture}.")}
        raise FamilyError(
            f"timm {timm.__version__} knows no model {name!r}.{suggest(name, sorted(near or known))} "
            f"`timm.list_models('*{architecture.partition('_')[0]}*', pretrained=True)` lists names"
        )
    config = get_pretrained_cfg(name)
    return {**(config.to_dict() if config else {}), "architecture": architecture}


def _heads(model: Any) -> list[str]:
    """Return the names of the layers that make outputs: several where a model was distilled, or has heads by stage.

    None for an encoder, which has no place for them.
    """
    classifier = model.pretrained_cfg.get("classifier") or ()
    modules = dict(model.named_modules())
    names = [name for name in ([classifier] if isinstance(classifier, str) else classifier) if name in modules]
    # two of timm's Levit configurations name `head.linear` only, and the model has `head_dist.linear` too
    twins = [twin for name in names if (twin := name.replace("head", "head_dist", 1)) in modules]
    return list(dict.fromkeys([*names, *twins]))


def _weights(name: str, config: dict[str, Any], commit: str) -> tuple[str, str]:
    """Return the path of the weights' file in the Hub's cache, fetched if need be, and its commit."""
    repository, _, revision = (config.get("hf_hub_id") or "").partition("@")
    if not repository:
        raise FamilyError(f"timm:{name} has no weights on the Hugging Face Hub, and hubft reads no pickles")
    file = (config.get("hf_hub_filename") or "pytorch_model.bin").replace("pytorch_model.bin", "model.safetensors")
    at = commit or revision or None
    try:
        if not file.endswith(".safetensors"):
            raise EntryNotFoundError(f"{file} is no safetensors file")
        cached = isinstance(try_to_load_from_cache(repository, file, revision=at), str)
        if not (cached or constants.HF_HUB_OFFLINE or hub.reachable(repository, at)):
            raise FamilyError(
                f"timm:{name}: the Hugging Face Hub cannot be reached, and {file} of {repository} is not in its cache"
            )
        path = hf_hub_download(
            repository,
            file,
            revision=at,
            library_name="timm",
            library_version=timm.__version__,
            etag_timeout=PATIENCE,
        )
    except (EntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise FamilyError(
            f"timm:{name}: {file} of {repository} cannot be had: {type(error).__name__}: {reason} "
            "(hubft reads safetensors only; HF_HUB_OFFLINE and HF_HUB_CACHE say where it looks)"
        ) from error
    return path, Path(path).relative_to(Path(path).parents[len(Path(file).parts)]).parts[0]


def _stages(model: Any, names: list[str]) -> structure.Stages:
    try:
        groups = [list(its) for its in group_parameters(model, model.group_matcher(coarse=True)).values()]
    except (AttributeError, AssertionError):  # MetaFormer, PiT and CSATv2 have no matcher; RDNet's refuses to be coarse
        return structure.stages(model, structure.children(model, names), names)
    # What a matcher forgets, timm puts last; but a table of positions, registered before the blocks, is used by them.
    place = {name: n for n, (name, _) in enumerate(model.named_parameters())}
    early = [name for name in groups[-1] if place[name] < min(place[other] for other in groups[1])]
    groups[0] += early
    groups[-1] = [name for name in groups[-1] if name not in early]
    return structure.stages(model, groups, names)
