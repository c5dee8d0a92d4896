"""The family `hub`: image models of a torch.hub repository, classifiers or backbones.

    hub:owner/repo:entry, hub:owner/repo@ref:entry      a repository on GitHub, fetched as torch.hub.load does
    hub:/path/to/checkout:entry                         a folder with a hubconf.py
    hub:owner/repo:entry?arch=s&size=224                with arguments of the entry (`hubft/entries.py`)

**This runs the repository's code**, with trust_repo=True: naming it is the consent. Pin a commit with `@ref`. Nothing
is known of such a model but what it shows: its heads are the layers whose values are its outputs (`hubft/heads.py`),
its stages are its children in order of use, its preprocessing is what it carries, else ImageNet's usual. A model that
gives features is the `body` of a torch.nn.Sequential, in which a head is put on them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from hubft import hookimpl
from hubft.base.errors import FamilyError, HubftError, Option
from hubft.families import build, defaults, entries, heads, pooling, stages, stated, structure
from hubft.families.build import unfilled
from hubft.families.weightless import without_weights
from hubft.hookspecs import Base, Loaded, call
from hubft.inputs import Preprocess
from hubft.job import Head

hubft_family = {"api": (1, 0), "foreign_code": True}

IMAGENET = Preprocess(size=(224, 224), resize=256)
SIZES = (224, 384, 256, 299, 448, 512, 336, 518, 288, 192, 160, 128, 96, 64, 32, 28)  # tried where nobody says one
DETECTOR = "transformers:facebook/detr-resnet-50"  # the model of facebookresearch/detr, with its loss
STEP = "hubft_step"  # attribute of a model that trains with a module of it in eval mode: [module, *what is held]


@hookimpl
def load(name: str, pretrained: bool, task: str) -> Loaded:
    """Return what the entry returns, proved to be the same model with and without its weights before it trains.

    :raises FamilyError: the entry fails, or gives what cannot be trained, or cannot be built without its weights; a
        detector is asked for, whose loss no entry gives: then nothing of the repository runs.
    """
    if task == "boxes":
        why = "an entry of torch.hub gives a detector without the loss that trains it"
        raise FamilyError(f"hub:{name}: {why}; take one that has it, as {DETECTOR}, or one of torchvision")
    made = _made(name, pretrained)
    if not pretrained:
        return made
    problem = _differs(made, name)
    if not problem:
        return made
    named = entries.Named.parse(name)
    flags = _flags(entries.found(named)[1], named.arguments, True)
    if flags and not _differs(made, fixed := named.having(flags)):  # asked for its weights and given none, it is
        return replace(made, base=replace(made.base, reference=f"hub:{fixed}"))
    raise FamilyError(f"hub:{name} is another model without its weights, as a package builds it, than with: {problem}")


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Give every head whose mean is the output its own fresh layers, and see that they make the outputs."""
    names = loaded.stages[list(loaded.stages)[-1]]
    for name in names:
        old = loaded.model.get_submodule(name)
        if isinstance(old, nn.Conv2d):  # what follows may be a ReLU, which passes no gradient at zero
            loaded.model.set_submodule(name, defaults.convolution(old.in_channels, head, std=0.01))
        else:
            defaults.adapt_head(replace(loaded, head=name), head)
    if not any(parameter.is_meta for parameter in loaded.model.parameters()):  # it is to be trained
        layers = [heads.last(loaded.model, name) for name in names]
        try:
            if not heads.run(loaded.model, loaded.images.shape).made_by(layers):
                raise FamilyError("something changes what the new head gives")
            heads.in_training(loaded.model, loaded.images.shape, layers, getattr(loaded.model, STEP, [""])[0])
        except Exception as error:  # anyone's code
            how = f"with a head of {head.outputs} outputs on images of {' x '.join(map(str, loaded.images.size))}"
            reason = error if isinstance(error, HubftError) else entries.why(error)
            raise FamilyError(f"{loaded.base.reference} fails {how}: {reason}") from error
    return loaded


@hookimpl
def freeze(loaded: Loaded, train: str, progress: float) -> frozenset[str]:
    """Do what the core does, and hold what only makes auxiliary outputs."""
    held = getattr(loaded.model, STEP, [""])[1:]
    names = stages.trainable(loaded, train, progress)
    return frozenset(name for name in names if not any(stages.under(name, prefix) for prefix in held))


def _main(model: nn.Module, inputs: Any) -> Any:
    """Return the main outputs of a model that in training gives others too: what adds those is in eval mode."""
    own: nn.Module = getattr(model, "_orig_mod", model)  # of a compiled model
    step = getattr(own, STEP, None)
    if step is None or not own.training:
        return model(inputs)
    module = own.get_submodule(step[0])
    module.training = False
    try:
        return model(inputs)
    finally:
        module.training = True


def _made(name: str, pretrained: bool) -> Loaded:
    """Return the model, analysed; without its weights, nothing of them is fetched or read.

    Some entries fail where they are asked for no weights. Those are asked for them and are given none.
    """
    named = entries.Named.parse(name)
    try:
        folder, entry, ref = entries.found(named)
        ways = [_flags(entry, named.arguments, asking) for asking in ([True] if pretrained else [False, True])]
        with entries.on_path(folder), redirect_stdout(sys.stderr):
            model = _built(entry, named, ways, nullcontext if pretrained else without_weights)
            return _analysed(name, model, ref)
    except HubftError:
        raise
    except (Exception, SystemExit) as error:  # the entry is anyone's code, and may fail in any way
        raise FamilyError(f"hub:{name} failed: {entries.why(error)}") from error


def _built(
    entry: Callable[..., Any], named: entries.Named, ways: Sequence[Mapping[str, Any]], within: Callable[[], Any]
) -> nn.Module:
    """Return what the entry gives for the first of some ways to flag the wish for weights that does not fail."""
    first: Exception | None = None
    for flags in ways:
        try:
            with within():
                model = entry(**named.arguments, **flags)
        except Exception as error:
            first = first or error
        else:
            break
    else:
        assert first
        raise first
    if not isinstance(model, nn.Module):
        raise FamilyError(f"hub:{named.text} gave a {type(model).__name__}, not a torch.nn.Module")
    return model


def _differs(made: Loaded, name: str) -> str:
    """Return how the model of a name, built without weights, differs from the one with them, or nothing."""
    try:
        bare = unfilled(lambda: _made(name, False))
    except HubftError as error:
        return str(error)
    state, other = made.model.state_dict(), bare.model.state_dict()
    wrong = [n for n in {**state, **other} if n not in state or n not in other or state[n].shape != other[n].shape]
    if wrong:
        more = f" and {len(wrong) - 3:,} more tensors" if len(wrong) > 3 else ""
        return f"{', '.join(sorted(wrong)[:3])}{more} are not in both, or not of one shape"
    for what in ("head", "stages", "preprocess"):
        if (one := getattr(made, what)) != (two := getattr(bare, what)):
            return f"its {what} is {one} with them, and {two} without"
    other.update(state)
    bare.model.load_state_dict(other, assign=True)
    shape = made.images.shape
    one, two = (heads.run(model, shape).outputs for model in (made.model, bare.model))
    if isinstance(one, Tensor) and not heads.same(one, two):
        return "filled with the same weights, it gives other outputs"
    return ""


def _flags(entry: Callable[..., Any], given: Mapping[str, Any], pretrained: bool) -> dict[str, Any]:
    """Return the flag that asks for weights, or for none; what the user gave stays.

    A flag whose default is a name of weights is left at it, or None: `if pretrained is not None` is how it is read.
    """
    known = inspect.signature(entry).parameters
    flag = next((flag for flag in ("pretrained", "weights") if flag in known), "")
    if not flag or {"pretrained", "weights"} & set(given):
        return {}
    default = known[flag].default
    if not (default is None or isinstance(default, bool) or default is inspect.Parameter.empty):
        return {} if pretrained else {flag: None}
    return {flag: ("DEFAULT" if flag == "weights" else True) if pretrained else (None if flag == "weights" else False)}


def _analysed(name: str, model: nn.Module, ref: str) -> Loaded:
    """Return a model with what passes through it show.

    :raises FamilyError: it takes no image, or gives neither outputs of a head nor features.
    """
    try:
        size, seen_heads, seen = _ended(model)
        preprocess = stated.preprocess(model) or IMAGENET
        if size != preprocess.size:
            preprocess = replace(preprocess.at_size(size[0]), size=size)
        if seen_heads:
            found = structure.stages(model, structure.children(model, seen_heads, seen.order), seen_heads)
        else:
            model, found = pooling.bodied(model, seen)
        bare = any(parameter.is_meta for parameter in model.parameters())  # it is not to be trained
        step = None if bare else heads.in_training(model, (3, *size), seen_heads, _body(seen_heads))
    except HubftError as error:
        raise FamilyError(f"hub:{name}: ", *error.args) from error
    forward = call if step is None else _main
    if step is not None:
        setattr(model, STEP, [_body(seen_heads), *step])
    head = (*seen_heads, pooling.HEAD)[0]
    return Loaded(model, head, found, preprocess, Base(f"hub:{name}", revision=ref), forward=forward)


def _body(found: Sequence[str]) -> str:
    """Return the name of the repository's own model: the model itself, if it has heads."""
    return "" if found else pooling.BODY


def _ended(model: nn.Module) -> tuple[tuple[int, int], tuple[str, ...], heads.Seen]:
    """Return the size, the heads, and the pass in eval mode, for the first of these sizes that the model takes.

    `--size`, that of its own transform or configuration, one that it says, the usual ones.
    """
    carried, asked = stated.preprocess(model), build.ASKED.get()
    own = [*([carried.size] if carried else []), *stated.sizes(model), *((side, side) for side in SIZES)]
    sizes = list(dict.fromkeys([*([(asked, asked)] if asked else []), *own]))
    first: Exception | None = None
    for size in sizes:
        try:
            return size, *heads.find(model, (3, *size))
        except HubftError:
            raise
        except Exception as error:  # anyone's code again
            first = first or error
    assert first
    raise FamilyError(
        f"its forward pass failed on images of {sizes[0][0]} x {sizes[0][1]}: {entries.why(first)}; "
        "if it takes another size, say so by ",
        Option("size"),
    ) from first
