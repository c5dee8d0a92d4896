"""What an exporter gets: a module from one batch to tensors, examples for it, and what the file must state."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hubft import modality
from hubft.base import layers
from hubft.base.errors import ExportError
from hubft.base.serialize import from_dict, to_dict
from hubft.compress import structure
from hubft.hookspecs import Loaded
from hubft.inputs import Images
from hubft.job import Compute
from hubft.machine.runtime import Runtime
from hubft.publish import manifest as manifests
from hubft.publish.manifest import Manifest
from hubft.share.opened import Opened
from hubft.tasks import kinds as tasks

OURS, ABOUT = "hubft", "hubft_export"  # keys of the metadata: the package's manifest; what the file is
PIXEL = 1 / 255  # of a value that ToTensor gives
MOST = 4096  # images of a batch; torch.export wants a bound


@dataclass(frozen=True)
class About:
    """What an exported file states of itself, beside the manifest of its package."""

    format: str
    precision: str
    way: str
    """How that was reached."""
    batch: int = 0
    """Images of a batch; 0 where it may be any number."""
    pixels: bool = False
    """Whether it takes uint8 `[batch, height, width, 3]` and gives probabilities, the model's outputs behind them."""
    exact: bool = False
    """Whether it must be computed in fp32, also where the machine has something faster."""


@dataclass(frozen=True)
class Exportable:
    """A model that can be written in a format; it is on the CPU, in fp32 and eval mode."""

    module: nn.Module
    """From a batch to its outputs, or with `pixels` to (probabilities, outputs)."""
    manifest: Manifest
    pictures: dict[str, Tensor]
    """The examples of the package's self-test, uint8 `[height, width, 3]`, by name."""
    examples: Tensor
    """The same as the module takes them, a row each."""
    pixels: bool = False

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
        return self.called(list(self.examples.split(1)))

    @torch.inference_mode()
    def called(self, batches: list[Tensor]) -> list[Tensor]:
        """Return what the module gives for batches, joined: a list with a tensor for each of its outputs."""
        given = [self.module(batch) for batch in batches]
        rows = [one if isinstance(one, tuple) else (one,) for one in given]
        return [torch.cat(parts).float() for parts in zip(*rows, strict=True)]

    @property
    def outputs(self) -> list[str]:
        """Names of what the file gives."""
        return ["probabilities", "outputs"] if self.pixels else ["outputs"]

    def metadata(self, about: About) -> dict[str, str]:
        """Return the texts that the file must hold, by name: for hubft, and for people without it."""
        manifest = self.manifest
        return {
            OURS: manifests.to_json(manifest),
            ABOUT: json.dumps(to_dict(about)),
            "classes": json.dumps(list(manifest.task.names)),
            "task": json.dumps(tasks.plain(manifest.task)),
            "preprocess": json.dumps(to_dict(manifest.inputs)),
        }


def of(opened: Opened, pixels: bool = False) -> Exportable:
    """Return what can be exported of a model.

    What a package has computed by torchao is computed in fp32 here: its weights are, as always, the same numbers.

    :param pixels: with the preprocessing behind the resize, and the task's probabilities.
    """
    loaded, manifest = opened.loaded, opened.manifest
    require_images(manifest)
    kind = modality.of(loaded.inputs)
    pictures = dict(kind.examples(loaded.inputs))
    # In a file that takes pixels the model's own preprocessing is a part of the module.
    inputs = raw(loaded.images) if pixels else loaded.images
    examples = torch.cat([kind.of_example(inputs, one) for one in pictures.values()])
    model = structure.plain(copy.deepcopy(loaded.model)).cpu().eval().requires_grad_(False)
    module: nn.Module = Plain(replace(loaded, model=model))
    if pixels:
        module, examples = Complete(module, loaded.images, manifest.task), to_pixels(examples)
    return Exportable(module.eval(), manifest, pictures, examples, pixels)


def require_images(manifest: Manifest) -> None:
    """Refuse a package whose model takes something else than images.

    :raises ExportError: it does.
    """
    if not isinstance(manifest.inputs, Images):
        raise ExportError(f"only models of images can be exported or benchmarked, and this one takes {manifest.inputs}")


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

    def forward(self, inputs: Tensor) -> Any:
        return self.call(self.model, inputs)


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
