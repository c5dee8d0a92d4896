"""Families that are wrong in one thing each: every check of `hubft.testing` fails for its own, and for no other.

A family here is an object; `FAMILIES.NAME` is what its entry point names.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import toy_family
from torch import Tensor, nn
from torch.nn import functional as F

from hubft import Head, Loaded, hookimpl
from hubft.compress import bf16, table
from hubft.families import defaults, stages
from hubft.hookspecs import Batch, call

COUNT = itertools.count(1)


class Net(toy_family.Small):
    """The toy network, in the module of these families."""


class Correct:
    """A family that keeps the contract, under any name."""

    hubft_family: ClassVar[dict[str, Any]] = {"api": (1, 0), "example": "small", "weights": True}
    net: type[nn.Module] = Net

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def load(self, name: str, pretrained: bool) -> Loaded:
        return self.change(toy_family.build(self.name, name, pretrained, self.net), pretrained)

    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return loaded


class Weightless(Correct):
    """Without weights, its parameters have no memory."""

    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return loaded if pretrained else replace(loaded, model=loaded.model.apply(to_meta))


def to_meta(module: nn.Module) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        setattr(module, name, nn.Parameter(parameter.to("meta")))


MUTANTS: dict[str, Correct] = {}


def fails(check: str) -> Callable[[type[Correct]], type[Correct]]:
    """Enter a family as the one that fails this check; it has the check's name."""

    def enter(family: type[Correct]) -> type[Correct]:
        MUTANTS[check] = family(check)
        return family

    return enter


# --- what it declares, and `load` -------------------------------------------------------------------------------


@fails("entry_point")
class Misspelt(Correct):
    hubft_family: ClassVar = {"api": (1, 0), "exmaple": "small"}


@fails("api_version")
class Versionless(Correct):
    hubft_family: ClassVar = {"example": "small", "weights": True}


@fails("load_gives_a_plain_model")
class Wrapped(Correct):
    net = type("Wrapper", (Net,), {"__module__": "hubft.nets"})


@fails("unknown_names_are_refused")
class Credulous(Correct):
    @hookimpl
    def load(self, name: str, pretrained: bool) -> Loaded:
        return toy_family.build(self.name, "small", pretrained, self.net)


@fails("builds_agree")
class Grown(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        loaded.model.head = nn.Linear(32, 12 if pretrained else 10)
        return loaded


@fails("reference_loads_it_again")
class Unpinned(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return replace(loaded, base=replace(loaded.base, revision=f"of load {next(COUNT)}"))


class Unpooled(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[..., None]


@fails("preprocess_fits_the_model")
class GivesMaps(Correct):
    net = Unpooled


class Noise(Net):
    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images)
        return outputs + 1e-4 * torch.rand_like(outputs)


@fails("eval_is_deterministic")
class Noisy(Correct):
    net = Noise


class RandomTaper(Net):
    def __init__(self) -> None:
        super().__init__()
        self.taper = torch.rand(32)


@fails("filled_build_computes_the_same")
class Forgetful(Correct):
    net = RandomTaper


# --- head and stages --------------------------------------------------------------------------------------------


@fails("stages_cover_everything_once")
class Gap(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return replace(loaded, stages={"stem": ("stem",), "head": ("head",)})


@fails("stages_are_in_forward_order")
class Shuffled(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return replace(loaded, stages={"block": ("block",), "stem": ("stem",), "head": ("head",)})


@fails("head_is_the_last_stage")
class Headless(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return replace(loaded, head="block.0")


@fails("head_fits_the_task")
class Shallow(Correct):
    @hookimpl
    def adapt_head(self, loaded: Loaded, head: Head) -> Loaded:
        return defaults.adapt_head(loaded, Head(outputs=head.outputs))


@fails("new_head_leaves_the_rest")
class Reset(Correct):
    @hookimpl
    def adapt_head(self, loaded: Loaded, head: Head) -> Loaded:
        nn.init.ones_(loaded.model.get_parameter("stem.1.bias"))
        return defaults.adapt_head(loaded, head)


@fails("hooks_return_their_result")
class Silent(Correct):
    @hookimpl
    def freeze(self, loaded: Loaded, train: str) -> None:
        stages.set_trainable(loaded.model, stages.trainable(loaded, train, 0.0))


class Hidden(Net):
    """It computes with references to its activations that nothing replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.stem[2], self.block[2]]

    def forward(self, images: Tensor) -> Tensor:
        maps = self.kept[0](self.stem[1](self.stem[0](images)))
        features = self.kept[1](self.block[1](self.block[0](maps))).mean((2, 3))
        return self.head(self.drop(features * self.taper))


@fails("surgery_is_done_again")
class Bypassing(Correct):
    net = Hidden


# --- training ---------------------------------------------------------------------------------------------------


@fails("freeze_trains_what_it_says")
class Generous(Correct):
    @hookimpl
    def freeze(self, loaded: Loaded, train: str, progress: float) -> frozenset[str]:
        return stages.trainable(loaded, train, progress) | {"stem.0.weight"}


@fails("freeze_thaws_by_progress")
class Impatient(Correct):
    @hookimpl
    def freeze(self, loaded: Loaded, train: str) -> frozenset[str]:
        return stages.trainable(loaded, train, 1.0)


class Drift(Net):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.get_buffer("stem.1.running_mean").add_(0.1)
        return super().forward(images)


@fails("frozen_norms_stand_still")
class Drifting(Correct):
    net = Drift


@fails("step_gives_loss_and_outputs")
class Undefined(Correct):
    @hookimpl
    def train_step(self, model: nn.Module, batch: Batch, criterion: nn.Module) -> dict[str, Tensor]:
        return {**defaults.train_step(model, batch, criterion, call), "margin": torch.tensor(float("nan"))}


@fails("step_takes_every_task")
class Classifying(Correct):
    @hookimpl
    def train_step(self, model: nn.Module, batch: Batch, criterion: nn.Module) -> dict[str, Tensor]:
        outputs = model(batch[0])
        return {"loss": F.cross_entropy(outputs, batch[1]), "outputs": outputs}


@fails("training_lowers_the_loss")
class Detached(Correct):
    @hookimpl
    def train_step(self, model: nn.Module, batch: Batch, criterion: nn.Module) -> dict[str, Tensor]:
        outputs = model(batch[0])
        return {"loss": criterion(outputs.detach(), batch[1]) + 0 * outputs.sum(), "outputs": outputs}


@fails("training_moves_only_what_trains")
class Meddling(Correct):
    @hookimpl
    def train_step(self, model: nn.Module, batch: Batch, criterion: nn.Module) -> dict[str, Tensor]:
        model.get_parameter("stem.0.weight").data.add_(1e-3)
        return defaults.train_step(model, batch, criterion, call)


@fails("accumulation_equals_large_batch")
class Summed(Correct):
    @hookimpl
    def train_step(self, model: nn.Module, batch: Batch, criterion: nn.Module) -> dict[str, Tensor]:
        result = defaults.train_step(model, batch, criterion, call)
        return {**result, "loss": result["loss"] * len(batch[1])}


class Rigid(Net):
    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images)
        return torch.zeros(outputs.shape).index_add(0, torch.arange(len(outputs)), outputs)  # refuses two dtypes


@fails("bf16_autocast_is_finite")
class Float32Only(Correct):
    net = Rigid


# --- compression and packages -----------------------------------------------------------------------------------


@fails("none_and_bf16_are_exact")
class Lossy(Correct):
    @hookimpl
    def compress(self, model: nn.Module, method: str) -> nn.Module | None:
        return bf16.rounded(model) if method == "none" else None


@fails("int8_keeps_a_scale_a_channel")
class Uneven(Correct):
    @hookimpl
    def compress(self, model: nn.Module, method: str) -> nn.Module | None:
        return bf16.rounded(model) if method == "int8" else None


@fails("own_methods_stay_in_tolerance")
class Crude(Correct):
    hubft_family: ClassVar = {**Correct.hubft_family, "methods": {"crude": 0.01}}

    @hookimpl
    def compress(self, model: nn.Module, method: str) -> nn.Module | None:
        if method != "crude":
            return None
        nn.init.zeros_(model.get_parameter("head.weight"))
        return model


@fails("unknown_methods_are_refused")
class Indifferent(Correct):
    @hookimpl
    def compress(self, model: nn.Module, method: str) -> nn.Module | None:
        return None if method in ("none", *table.METHODS) else model


@fails("saved_files_hold_no_pickle")
class Odd(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        return replace(loaded, config={"a set": {1, 2}})


class Gain(Net):
    gain = 1.0

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * super().forward(images)


@fails("package_gives_equal_logits")
class Beside(Correct):
    net = Gain

    @hookimpl
    def adapt_head(self, loaded: Loaded, head: Head) -> Loaded:
        loaded.model.gain = next(COUNT)  # type: ignore[assignment]
        return defaults.adapt_head(loaded, head)


@fails("delta_rebuilds_equal_bits")
class Moving(Correct):
    def change(self, loaded: Loaded, pretrained: bool) -> Loaded:
        if pretrained:
            loaded.model.get_parameter("stem.0.weight").data.add_(1e-3 * next(COUNT))
        return loaded


class Tidy(Net):
    @property
    def hubft(self) -> dict[str, Any]:
        return self.__dict__["facts"]

    @hubft.setter
    def hubft(self, facts: dict[str, Any]) -> None:
        self.__dict__["facts"] = {**facts, "classes": [name.strip() for name in facts["classes"]]}


@fails("class_names_are_only_names")
class Tidying(Correct):
    net = Tidy


class Twin(Net):
    def __deepcopy__(self, memo: object) -> nn.Module:
        return copy.copy(self)


@fails("deepcopy_computes_the_same")
class Sharing(Correct):
    net = Twin


class Local(Net):
    def __init__(self) -> None:
        super().__init__()
        self.scale = lambda outputs: F.relu(outputs)


@fails("new_process_computes_the_same")
class Unpicklable(Correct):
    net = Local


FAMILIES = SimpleNamespace(correct=Correct("correct"), weightless=Weightless("weightless"), **MUTANTS)

AT_IMPORT = [
    (
        "import_is_offline",
        """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.getaddrinfo("localhost", 9)
with socket.socket() as it:
    it.settimeout(1)
    it.connect_ex(("127.0.0.1", 9))
""",
        "asked the network for ('127.0.0.1', 9), localhost",
    ),
    ("import_is_quiet", "import os, sys; print('one'); sys.stdout.flush(); os.write(2, b'two')", "prints 'one\\ntwo'"),
    ("import_is_quiet", "open('notes.txt', 'w').close()", "writes notes.txt"),
    (
        "import_changes_no_state",
        """
import random, numpy, torch
random.random(), numpy.random.rand(), torch.rand(1)
""",
        "changes the random state of NumPy, the random state of Python, the random state of torch",
    ),
    (
        "import_changes_no_state",
        "import torch; torch.set_grad_enabled(not torch.is_grad_enabled())",
        "changes torch.is_grad_enabled()",
    ),
]
"""What modules of families that are else correct do at their import: the check that sees it, the code, the reason."""
