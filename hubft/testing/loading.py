"""The hook `load`: a plain model of its library, the same one however it is built."""

from __future__ import annotations

from collections import Counter

import numpy
import torch
from PIL import Image
from torch import Tensor, nn

from hubft import modality
from hubft.base.errors import HubftError
from hubft.families import plugins
from hubft.families.build import unfilled
from hubft.hookspecs import Base, Loaded
from hubft.images import transforms
from hubft.inputs import Images
from hubft.job import Reference
from hubft.publish import tensors
from hubft.testing.announced import entry_point
from hubft.testing.subject import Subject, compute, differing, expect, noise, shapes, shown
from hubft.testing.trial import check


@check(entry_point)
def load_gives_a_plain_model(subject: Subject) -> None:
    """`load` gives hubft.Loaded with a float32 model of its own library, whose whole state is tensors."""
    loaded = subject.load()
    expect(isinstance(loaded, Loaded), f"`load` gave a {type(loaded).__name__}, not hubft.Loaded")
    for what, value, wanted in (
        ("model", loaded.model, nn.Module),
        ("preprocess", loaded.preprocess, tuple(modality.named(kind).takes for kind in modality.KINDS)),
        ("base", loaded.base, Base),
    ):
        expect(isinstance(value, wanted), f"{what} is a {type(value).__name__}, not a {_called(wanted)}")
    Reference.parse(loaded.base.reference)
    ours = {type(m).__qualname__ for m in loaded.model.modules() if type(m).__module__.partition(".")[0] == "hubft"}
    expect(not ours, f"{shown(ours)} is a class of hubft: whoever loads the model would need hubft")
    state = loaded.model.state_dict()
    odd = [n for n, t in state.items() if not isinstance(t, Tensor) or t.dtype not in tensors.DTYPES.values()]
    expect(not odd, f"{shown(odd)} of the model's state cannot be stored in safetensors")
    kinds = Counter(p.dtype for p in loaded.model.parameters())
    expect(set(kinds) == {torch.float32}, f"its parameters are {shown(kinds) or 'none'}, not float32")


@check(entry_point)
def unknown_names_are_refused(subject: Subject) -> None:
    """A name that the family does not know is a HubftError in one line."""
    name = f"{subject.model}_that_nobody_made"
    try:
        subject.pm.hook.load(name=name, pretrained=False, config={}, task="")
    except HubftError as error:
        expect(0 < len(str(error).splitlines()) < 2, f"the error for {name!r} is not one line: {str(error)!r}")
    else:
        raise AssertionError(f"`load` takes the name {name!r}: raise a hubft.HubftError that says which it knows")


@check(load_gives_a_plain_model)
def builds_agree(subject: Subject) -> None:
    """With weights, without, and without memory for them: the names, shapes, stages and preprocessing are equal."""
    plain = subject.load()
    builds = {"without memory": unfilled(subject.load)}
    if subject.declared.weights:
        builds["with weights"] = subject.load(pretrained=True)
    for how, other in builds.items():
        wrong = differing(shapes(plain.model), shapes(other.model))
        expect(not wrong, f"built {how}, it has other tensors: {shown(wrong)}")
        for what in ("head", "stages", "preprocess"):
            one, two = getattr(plain, what), getattr(other, what)
            expect(one == two, f"built {how}, its {what} is {two}, and else {one}")
        one, two = plain.base.reference, other.base.reference
        expect(one == two, f"built {how}, its reference is {two}, and else {one}")


@check(load_gives_a_plain_model)
def reference_loads_it_again(subject: Subject) -> None:
    """`base.reference`, by which a package is loaded, leads to the same model."""
    loaded = subject.load()
    reference = Reference.parse(loaded.base.reference)
    again = plugins.manager(reference.family).hook.load(name=reference.name, pretrained=False, config={}, task="")
    wrong = differing(shapes(loaded.model), shapes(again.model))
    expect(not wrong, f"{reference} has other tensors: {shown(wrong)}")
    for what in ("head", "stages", "preprocess", "base"):
        one, two = getattr(loaded, what), getattr(again, what)
        expect(one == two, f"{what} of {reference} is {two}, and was {one}")


@check(load_gives_a_plain_model)
def preprocess_fits_the_model(subject: Subject) -> None:
    """An input, made as stated, has the stated size, and the model gives finite `[batch, outputs]` for it."""
    loaded = subject.build()
    kind = modality.of(loaded.inputs)
    if isinstance(loaded.inputs, Images):
        pixels = numpy.random.default_rng(0).integers(0, 256, (97, 61, 3), dtype=numpy.uint8)
        one = transforms.evaluation(loaded.inputs)(Image.fromarray(pixels))
        wanted = (3, *loaded.images.size)
        expect(tuple(one.shape) == wanted, f"the preprocessing gives {tuple(one.shape)}, not {wanted}")
        two = torch.stack([one, one.flip(2)])
    else:
        example = next(iter(kind.examples(loaded.inputs).values()))
        two = kind.together([kind.of_example(loaded.inputs, example)] * 2, loaded.inputs)
    outputs = compute(loaded, two)
    expect(isinstance(outputs, Tensor), f"the model gives a {type(outputs).__name__}, not a tensor")
    expect(outputs.ndim == 2 and len(outputs) == 2, f"two {kind.word}s give {list(outputs.shape)}, not [2, outputs]")
    expect(bool(outputs.isfinite().all()), "the outputs are not finite")


@check(preprocess_fits_the_model)
def eval_is_deterministic(subject: Subject) -> None:
    """In eval mode equal inputs give equal bits, twice, and other inputs other outputs."""
    loaded = subject.build()
    inputs = noise(loaded)
    outputs = compute(loaded, inputs)
    expect(torch.equal(outputs, compute(loaded, inputs)), "a second pass in eval mode gives other outputs")
    expect(not torch.equal(outputs[0], outputs[1]), "the outputs tell nothing of the images")


@check(builds_agree, eval_is_deterministic)
def filled_build_computes_the_same(subject: Subject) -> None:
    """Built without memory and filled with a model's state, it computes what that model does, to the bit."""
    loaded, bare = subject.build(), unfilled(subject.load)
    bare.model.load_state_dict(loaded.model.state_dict(), strict=True, assign=True)
    left = [n for n, buffer in bare.model.named_buffers() if buffer.is_meta]
    expect(not left, f"the buffer {shown(left)} has no values, and is not in the model's state")
    same = torch.equal(compute(loaded, noise(loaded)), compute(bare, noise(bare)))
    expect(same, "two builds with equal state compute differently: something that matters is not in the state")


def _called(kinds: type | tuple[type, ...]) -> str:
    return " or ".join(one.__name__ for one in (kinds if isinstance(kinds, tuple) else (kinds,)))


CHECKS = (
    load_gives_a_plain_model,
    unknown_names_are_refused,
    builds_agree,
    reference_loads_it_again,
    preprocess_fits_the_model,
    eval_is_deterministic,
    filled_build_computes_the_same,
)
