"""What a model looked at where it was wrong: gradient times activation of its last map of places, by captum.

Summed over the channels that is HiResCAM (https://arxiv.org/abs/2011.08891); where a mean is pooled before one linear
layer, it is Grad-CAM (https://arxiv.org/abs/1610.02391). It needs no more than places, which tokens of a transformer
are, too. Of texts the places are tokens, and their map is that of the embeddings.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from hubft.base import batches
from hubft.base.distributions import installs, missing
from hubft.cut import calls
from hubft.cut.calls import Blank
from hubft.hookspecs import Loaded
from hubft.job import Compute
from hubft.machine.runtime import Runtime

if TYPE_CHECKING:
    from hubft.report.samples import Seen

EXTRA = "explain"
TRIED = 24  # modules, from the last one on: of a class token, the last ones tell nothing of the other places
CELLS = 25  # places of a map, where one has as many: fewer tell nothing
BESIDE = 8  # tokens that are no places, at most
STRONG = 0.7  # how far the colour of the highest place covers the picture
COLOURS = "inferno"


def explain(
    loaded: Loaded, seen: Seen, chosen: Sequence[int], mistakes: Sequence[dict[str, Any]], keep: Callable[..., str]
) -> str:
    """Give each mistake its map, as `looked` the file of a picture, or as `weights` tokens with theirs; return in a
    sentence what they show, or why there are none.

    :param chosen: places of the validation samples that the mistakes are of.
    :param keep: keeps a picture, and returns the name of its file.
    """
    task = seen.task
    if task.located or task.kind in ("several", "generation"):
        return f"What the model looked at is not drawn: a task of the kind {task.kind} has no one answer to explain."
    try:
        import captum.attr  # noqa: F401 - an extra
    except ModuleNotFoundError:
        return f"What the model looked at is not drawn: that {missing('captum', installs(EXTRA))}."
    if not chosen:
        return ""
    views = seen.kind.views(seen.data.source, task, [seen.data.val[place] for place in chosen], seen.inputs)
    items = [views[0, place] for place in range(len(chosen))]
    runtime = Runtime(Compute(device=str(next(loaded.model.parameters()).device), workers=0))
    inputs = seen.kind.ready(seen.inputs, runtime)(views.collate(items)[0])
    said = seen.outputs[list(chosen)].argmax(1).to(runtime.device)
    text = isinstance(inputs, dict)
    maps = _maps(loaded, inputs, said, _embeddings(loaded, inputs) if text else _last(loaded, inputs))
    if maps is None:
        return "What the model looked at is not drawn: no map of places in it tells of the answer."
    for number, ((view, _), mistake, weights) in enumerate(zip(items, mistakes, maps, strict=True)):
        if text:
            mistake["weights"] = _tokens(seen, view, weights)
        else:
            mistake["looked"] = keep(f"looked-{number:02}", over(_seen(seen, view), weights.numpy()))
    return "Brighter is what spoke for the answer that was given: gradient times activation, by captum."


def _maps(loaded: Loaded, inputs: Any, said: Tensor, modules: Sequence[nn.Module]) -> Tensor | None:
    """Return the map of each sample for what was said of it, from 0 to 1, `[n, height, width]` or `[n, tokens]`; None
    where no module has one."""
    from captum.attr import LayerGradientXActivation

    def forward(given: Tensor) -> Tensor:
        whole = {**inputs, "input_ids": given} if isinstance(inputs, dict) else given
        outputs: Tensor = loaded.forward(loaded.model, whole)
        return outputs.float()

    given = inputs["input_ids"] if isinstance(inputs, dict) else inputs
    for module in modules[:TRIED]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # token ids have no gradient, which is known
                found = LayerGradientXActivation(forward, module).attribute(given, target=said)
        except (RuntimeError, AssertionError, IndexError):  # a module whose output is written over, or called twice
            continue
        tensor = found[0] if isinstance(found, tuple) else found
        weights = tensor.sum(-1) if isinstance(inputs, dict) else as_map(tensor)
        if weights is not None and bool(weights.abs().sum() > 0):
            weights = weights.detach().float().cpu().clamp(min=0)
            highest = weights.flatten(1).amax(1).clamp(min=1e-12)
            scaled: Tensor = weights / highest.view(-1, *[1] * (weights.ndim - 1))
            return scaled
    return None


def as_map(tensor: Tensor) -> Tensor | None:
    """Return what a module gives, summed over its channels, as `[n, height, width]`; None where it has no places.

    :param tensor: `[n, channels, height, width]`, `[n, height, width, channels]`, or `[n, tokens, channels]`, of which
        the last tokens are a square.
    """
    if tensor.ndim == 4:
        behind = tensor.shape[1] == tensor.shape[2] != tensor.shape[3]
        summed = tensor.sum(-1 if behind else 1)
        return summed if summed[0].numel() > 1 else None
    if tensor.ndim == 3:
        side = math.isqrt(tensor.shape[1])
        if side > 1 and tensor.shape[1] - side**2 <= BESIDE:
            return tensor.sum(-1)[:, -(side**2) :].view(-1, side, side)
    return None


def _last(loaded: Loaded, inputs: Any) -> list[nn.Module]:
    """Return the modules that give maps of places, the last one first."""
    with torch.no_grad(), calls.in_eval(loaded.model):
        found = calls.record(loaded, batches.rows(inputs, 0, 2))
    mapped = [call for call in found if isinstance(call.output, Blank) and call.output.per_sample == 1]
    ordered = sorted(mapped, key=lambda call: -call.end)
    maps = [(call.module, as_map(torch.empty(call.output.shape, device="meta"))) for call in ordered]
    there = [(module, its.shape[1:].numel()) for module, its in maps if its is not None]
    fine = [module for module, cells in there if cells >= CELLS]
    return fine or [module for module, _ in there]


def _embeddings(loaded: Loaded, inputs: Any) -> list[nn.Module]:
    """Return the modules that give the embeddings of the tokens."""
    known = int(inputs["input_ids"].max())
    return [one for one in loaded.model.modules() if isinstance(one, nn.Embedding) and one.num_embeddings > known]


def _tokens(seen: Seen, view: Tensor, weights: Tensor) -> list[tuple[str, float]]:
    """Return the pieces of a text with their weights."""
    ids = view if view.ndim == 1 else view[0]
    pieces = [seen.kind.view_shown(ids[place : place + 1], seen.inputs) for place in range(len(ids))]
    return [(str(piece), round(float(weight), 3)) for piece, weight in zip(pieces, weights, strict=False) if piece]


def _seen(seen: Seen, view: Tensor) -> NDArray[Any]:
    """Return what a person sees of a view, uint8 `[height, width, 3]`."""
    shown = seen.kind.view_shown(view, seen.inputs)
    assert isinstance(shown, bytes)
    return numpy.asarray(Image.open(BytesIO(shown)))


def over(picture: NDArray[Any], weights: NDArray[Any]) -> bytes:
    """Return a picture with a map laid over it, as JPEG.

    :param picture: uint8 `[height, width, 3]`.
    :param weights: 0 to 1, `[rows, columns]`.
    """
    height, width = picture.shape[:2]
    cells = Image.fromarray((weights * 255).astype(numpy.uint8))
    heat = numpy.asarray(cells.resize((width, height), Image.Resampling.BICUBIC), numpy.float32)[..., None] / 255
    colour = matplotlib.colormaps[COLOURS](heat[..., 0])[..., :3] * 255
    grey = picture.mean(2, keepdims=True).repeat(3, 2)
    mixed = grey * (1 - STRONG * heat) + colour * (STRONG * heat)
    Image.fromarray(mixed.clip(0, 255).astype(numpy.uint8)).save(made := BytesIO(), format="JPEG", quality=85)
    return made.getvalue()
