"""Adapters while they train: which layers get one, peft's own layers in their places, and plain ones again.

The model stays the class of its library. peft puts its layer where a layer was, and the old one into it, as
`base_layer`; a new head is left as it is, and trains in full. A head that is the base's own, as that of a language
model, is neither adapted nor trained: peft's `all-linear` leaves it out as well, and in full it would be most of a
package.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from hubft.adapting import Adapting
from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError, Option
from hubft.base.quiet import quiet
from hubft.compress import lora
from hubft.families import adaptable, quantized, stages
from hubft.families.quantized import Quantized
from hubft.families.stages import under
from hubft.hookspecs import Loaded, hookimpl

NAME = "default"  # by which peft calls an adapter
CPU = torch.device("cpu")
NOTHING: Mapping[str, nn.Module] = MappingProxyType({})


@dataclass(frozen=True)
class Adapted:
    """A model whose layers have adapters."""

    record: dict[str, Any]
    """Of `hubft.compress.lora`."""
    config: bytes
    """peft's own file of it."""
    live: frozenset[str]
    """Names of the parameters of the adapters."""
    libraries: tuple[str, ...] = ("peft",)
    """Distributions that a result depends on."""
    contiguous: bool = False
    """Whether peft computes them in the contiguous memory format alone, as DoRA of convolutions."""
    note: str = ""
    """Which layers have none, and why, in one line."""
    quantized: Quantized | None = None
    """The layers of the base that are in few bits, where there are any."""

    @hookimpl(wrapper=True)
    def freeze(self) -> Generator[None, frozenset[str], frozenset[str]]:
        """Hold whatever is neither of an adapter nor of the head, whichever family says what trains."""
        names = yield
        return frozenset(name for name in names if name in self.live or self.of_head(name))

    def of_head(self, name: str) -> bool:
        """Tell whether a module or a tensor is of the head."""
        return any(under(name, head) for head in self.record["head"])


def give(loaded: Loaded, asked: Adapting, inputs: Any, own: bool = False, device: torch.device = CPU) -> Adapted:
    """Return what is known of the adapters that the layers of a model have now, and of its base in few bits.

    :param inputs: any that the model takes.
    :param own: the head is the base's own: of a model that says which token follows.
    :param device: that will train it.
    :raises JobError: peft or bitsandbytes is not installed, or layers are asked for that can have none.
    """
    try:
        with quiet():  # it tells of libraries that it would like to have
            import peft  # not at the top: it is an extra
    except ImportError as error:
        raise JobError(Option("adapter"), f" {asked.adapter} {missing('peft', installs('peft'))}") from error
    heads = [] if own else adaptable.heads(loaded)
    reasons = adaptable.reasons(loaded, heads, inputs)
    layers = adaptable.chosen(loaded, asked.adapter_layers, reasons)
    full = max(lora.full_rank(loaded.model.get_parameter(f"{name}.weight")) for name in layers)
    if asked.rank > full:
        raise JobError(Option("rank"), f" {asked.rank}: no weight that it is for has a rank above {full}: 8 is usual")
    names = [name for name, _ in loaded.model.named_modules()]
    whole = sum(p.numel() for p in loaded.model.parameters())
    config = peft.LoraConfig(
        r=asked.rank,
        lora_alpha=asked.scale,
        target_modules=adaptable.targets(layers, names),
        modules_to_save=heads or None,
        task_type=peft.TaskType.CAUSAL_LM if own else None,
        use_rslora=asked.rslora,
        use_dora=asked.dora,
    )
    stated = _stated(config, loaded)
    config.modules_to_save = None  # the head is no copy of a head: it trains where it is
    fit = [name for name, why in reasons.items() if not why]
    narrow = quantized.give(loaded.model, asked.quantize_base, fit, device) if asked.quantized else None
    with quiet(), quantized.told(loaded.model, asked.quantize_base):
        peft.inject_adapter_in_model(config, loaded.model, NAME)
    live = frozenset(name for name, p in loaded.model.named_parameters() if p.requires_grad)
    sizes = {name: p.numel() for name, p in loaded.model.named_parameters()}
    trained = sum(n for name, n in sizes.items() if name in live or any(under(name, head) for head in heads))
    how = {"rank": asked.rank, "alpha": asked.scale, "rslora": asked.rslora, "dora": asked.dora}
    record = {"kind": lora.KIND, **how, "layers": layers, "head": heads, "trained": [trained, whole]}
    spatial = any(p.ndim > 2 for name, p in loaded.model.named_parameters() if name in live)
    note = _note({name: why for name, why in reasons.items() if why})
    libraries = ("peft", quantized.LIBRARY) if narrow else ("peft",)
    return Adapted(record, stated, live, libraries, asked.dora and spatial, note, narrow)


@torch.no_grad()
def fold(model: nn.Module, record: Mapping[str, Any], base: Mapping[str, nn.Module] = NOTHING) -> dict[str, Tensor]:
    """Make the model plain again, in place, its adapters in its weights; return these weights as they were before,
    with the tensors of the adapters, by their names in a package.

    :param base: layers that were in few bits, as they are in the base, by name.
    """
    apart: dict[str, Tensor] = {}
    for name in base.keys() - set(record["layers"]):
        model.set_submodule(name, base[name])
    for name in record["layers"]:
        layer: Any = model.get_submodule(name)
        plain: Any = base[name] if name in base else getattr(layer, stages.ADAPTED)
        beside = {lora.A: layer.lora_A[NAME].weight, lora.B: layer.lora_B[NAME].weight}
        if record["dora"]:
            beside[lora.MAGNITUDE] = layer.lora_magnitude_vector[NAME].weight
        apart |= {f"{name}.{own}": tensor.detach().cpu().contiguous() for own, tensor in beside.items()}
        apart[f"{name}.weight"] = plain.weight.detach().cpu().clone(memory_format=torch.contiguous_format)
        plain.weight.copy_(lora.folded(record, plain.weight, beside))
        model.set_submodule(name, plain)
    vars(model).pop("peft_config", None)
    return apart


def _stated(config: Any, loaded: Loaded) -> bytes:
    """Return the text of adapter_config.json, which says nothing of this machine."""
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    plain |= {"base_model_name_or_path": loaded.base.hub or None, "inference_mode": True}
    plain["revision"] = loaded.base.revision or None if loaded.base.hub else None
    return (json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _note(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    name, why = next(iter(left_out.items()))
    more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return f"without an adapter: {name} ({why}){more}"
