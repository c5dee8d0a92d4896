"""What an exporter gets: a module from the tensors of a batch to tensors, examples, and what the file must state."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import batches, layers
from hubft.base.errors import ExportError, Option
from hubft.base.serialize import from_dict, to_dict
from hubft.compress import structure
from hubft.hookspecs import Loaded
from hubft.inputs import Free, Images, Inputs, images
from hubft.job import Compute
from hubft.machine.runtime import Runtime
from hubft.publish import carried
from hubft.publish import manifest as manifests
from hubft.publish.manifest import Manifest
from hubft.share.opened import Opened
from hubft.tasks import kinds as tasks

OURS, ABOUT = "hubft", "hubft_export"  # keys of the metadata: the package's manifest; what the file is
PIXEL = 1 / 255  # of a value that ToTensor gives
MOST = 4096  # samples of a batch; torch.export wants a bound


@dataclass(frozen=True)
class About:
    """What an exported file states of itself, beside the manifest of its package."""

    format: str
    precision: str
    way: str
    """How that was reached."""
    batch: int = 0
    """Samples of a batch; 0 where it may be any number."""
    pixels: bool = False
    """Whether it takes uint8 `[batch, height, width, 3]` and gives probabilities, the model's outputs behind them."""
    exact: bool = False
    """Whether it must be computed in fp32, also where the machine has something faster."""
    whole: bool = False
    """Whether its inputs must be filled up to their largest sizes, where a model's may have any."""


@dataclass(frozen=True)
class Exportable:
    """A model that can be written in a format; it is on the CPU, in fp32 and eval mode."""

    module: nn.Module
    """From the tensors of a batch to its outputs, or with `pixels` to (probabilities, outputs)."""
    manifest: Manifest
    inputs: Inputs
    """What the model takes."""
    stored: dict[str, Tensor]
    """The examples of the package's self-test, as they are there, by name."""
    examples: Sequence[Any]
    """The same as the module takes them, without the dimension of a batch."""
    pixels: bool = False

    @property
    def word(self) -> str:
        """What a sample is called."""
        return modality.of(self.inputs).word

    @property
    def names(self) -> list[str]:
        """Names of what the file takes."""
        return list(self.inputs.arrays)

    @property
    def sizes(self) -> list[tuple[int | Free, ...]]:
        """Sizes of what the file takes, without the batch's own."""
        return [tuple(self.examples[0].shape)] if self.pixels else list(self.inputs.arrays.values())

    @property
    def free(self) -> bool:
        """Whether some of these may be any."""
        return any(isinstance(size, Free) for sizes in self.sizes for size in sizes)

    def given(self, picked: Sequence[int], whole: bool = False) -> tuple[Tensor, ...]:
        """Return a batch of examples as the module takes it.

        :param whole: filled up to the largest sizes.
        """
        kind = modality.of(self.inputs)
        batch = kind.together([self.examples[place % len(self.examples)] for place in picked], self.inputs)
        return tuple(batches.leaves(kind.whole(batch, self.inputs) if whole else batch))

    def wrong(self, about: About) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
        """Yield batches that a file must refuse, not answer in some shape, each with what it is."""
        right = self.given(range(about.batch or 2), about.whole)
        if self.free:
            yield f"{' and '.join(self.names)} of two lengths", (*right[:-1], right[-1][:, :-1])
        else:
            (one,) = right
            half = one[:, : one.shape[1] // 2] if self.pixels else one[..., : one.shape[-1] // 2]
            yield f"{self.names[0]} of another size", (half,)
        if about.batch:
            yield "a batch of another size", tuple(torch.cat([one[:1]] * (about.batch + 1)) for one in right)

    @cached_property
    def mostly_linear(self) -> bool:
        """Whether more of its weights multiply matrices than convolve."""
        return layers.mostly_linear(self.module)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(one.numel() * one.element_size() for one in (*self.module.parameters(), *self.module.buffers()))

    @cached_property
    def answers(self) -> list[Tensor]:
        """What the module gives for the examples, each computed alone."""
        return self.called([self.given([place]) for place in range(len(self.examples))])

    @torch.inference_mode()
    def called(self, given: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
        """Return what the module gives for batches, joined: a list with a tensor for each of its outputs."""
        found = [self.module(*batch) for batch in given]
        rows = [one if isinstance(one, tuple) else (one,) for one in found]
        return [torch.cat(parts).float() for parts in zip(*rows, strict=True)]

    @property
    def outputs(self) -> list[str]:
        """Names of what the file gives."""
        return ["probabilities", "outputs"] if self.pixels else ["outputs"]

    def about(self, name: str, way: str, batch: int, exact: bool = False) -> About:
        """Return what a file states of itself.

        :param name: of its format.
        :param way: how its precision was reached, which is the first word of it.
        :raises ExportError: inputs would be filled up in it, and the model answers for what fills up.
        """
        if batch and self.free and -1 in self.manifest.task.shape:
            raise ExportError(
                f"a file of the format {name} takes inputs of one size, and this model gives outputs for each token of "
                "one: take onnx, openvino or pt2"
            )
        precision = way.partition(" ")[0].rstrip(",")
        return About(name, precision, way, batch, self.pixels, exact, bool(batch) and self.free)

    def metadata(self, about: About) -> dict[str, str]:
        """Return the texts that the file must hold, by name: for hubft, and for people without it."""
        manifest = self.manifest
        return {
            OURS: manifests.to_json(manifest),
            ABOUT: json.dumps(to_dict(about)),
            "classes": json.dumps(list(manifest.task.names)),
            "task": json.dumps(tasks.plain(manifest.task)),
            "preprocess": json.dumps(carried.stated(manifest.inputs)),
        }


def require_answers(manifest: Manifest) -> None:
    """Refuse a package whose model does not answer in one pass.

    :raises ExportError: it writes token after token.
    """
    if manifest.task.writes:
        raise ExportError(
            f"models that write are neither exported nor benchmarked here, and this one takes {manifest.inputs}: "
            "transformers reads its package as it is, and llama.cpp's convert_hf_to_gguf.py PACKAGE converts it"
        )


def of(opened: Opened, pixels: bool = False) -> Exportable:
    """Return what can be exported of a model.

    What a package has computed by torchao is computed in fp32 here: its weights are, as always, the same numbers.

    :param pixels: with the preprocessing behind the resize, and the task's probabilities.
    """
    loaded, manifest = opened.loaded, opened.manifest
    require_answers(manifest)
    kind, inputs = modality.of(loaded.inputs), loaded.inputs
    if pixels and not isinstance(inputs, Images):
        raise ExportError(Option("with_preprocess"), f" is for models of images, and this one takes {inputs}")
    stored = dict(kind.examples(inputs))
    # In a file that takes pixels the model's own preprocessing is a part of the module.
    taken = raw(images(inputs)) if pixels else inputs
    examples = [kind.of_example(taken, one) for one in stored.values()]
    model = structure.plain(copy.deepcopy(loaded.model)).cpu().eval().requires_grad_(False)
    module: nn.Module = Plain(replace(loaded, model=model))
    if pixels:
        module, examples = (
            Complete(module, images(inputs), manifest.task),
            [to_pixels(one[None])[0] for one in examples],
        )
    elif not isinstance(blank := kind.blank(inputs, 1), Tensor):
        module = Parts(module, blank)
    return Exportable(module.eval(), manifest, inputs, stored, examples, pixels)


def raw(inputs: Images) -> Images:
    """Return the preprocessing that ends before the normalisation: values from 0 to 255 in floats."""
    return replace(inputs, mean=(0.0,) * 3, std=(PIXEL,) * 3, channels="rgb")


def to_pixels(inputs: Tensor) -> Tensor:
    """Return what `raw` made, `[batch, 3, height, width]`, as uint8 `[batch, height, width, 3]`."""
    return inputs.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def about(text: str) -> About:
    """Return what a file states of itself.

    :raises HubftError: no such facts.
    """
    return from_dict(About, json.loads(text), ABOUT)


class Plain(nn.Module):
    """A model as it is called: one batch in, one tensor out."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.model, self.call = loaded.model, loaded.forward

    def forward(self, inputs: Any) -> Any:
        return self.call(self.model, inputs)


class Parts(nn.Module):
    """The same, called with the tensors of a batch one after the other."""

    def __init__(self, module: nn.Module, like: Any) -> None:
        super().__init__()
        self.module, self.like = module, like

    def forward(self, *tensors: Tensor) -> Any:
        return self.module(batches.filled(self.like, tensors))


class Complete(nn.Module):
    """Pixels in; the task's probabilities and the model's outputs out."""

    def __init__(self, module: nn.Module, inputs: Images, task: Any) -> None:
        super().__init__()
        self.module, self.task = module, task
        self.ready = modality.of(inputs).ready(inputs, Runtime(Compute(device="cpu", precision="fp32")))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.module(self.ready(inputs))
        # Times one: where they are the outputs themselves, OpenVINO does not convert two outputs that are one.
        return self.task.shares(outputs) * 1.0, outputs
