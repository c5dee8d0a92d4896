"""Packages of the model, written and loaded by the code that publishes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import SkipTest

from torch import Tensor, nn

from hubft.base import digest
from hubft.families import build
from hubft.hookspecs import Loaded
from hubft.job import Compute, Recipe
from hubft.machine.runtime import Runtime
from hubft.publish import package, selftest, tensors
from hubft.share import load
from hubft.tasks.classification import Classification
from hubft.testing import values
from hubft.testing.copies import deepcopy_computes_the_same
from hubft.testing.heads import new_head_leaves_the_rest
from hubft.testing.loading import filled_build_computes_the_same, reference_loads_it_again
from hubft.testing.subject import HEAD, Subject, compute, copied, differing, expect, noise, shown
from hubft.testing.trial import check
from hubft.train import checkpoint, loop

PLAIN = (".safetensors", ".json", ".md", ".png")
CLASSES = ("ant", "bee", "cat")
HOSTILE = (
    "--- # heading | `code` \\",
    "<script>alert(1)</script>[link](https://nowhere.test)\u200b",
    10_000 * "x",
    "ant",
    "Ant",
    " ../../{{ ant }} ",
)


@check(deepcopy_computes_the_same, new_head_leaves_the_rest)
def saved_files_hold_no_pickle(subject: Subject) -> None:
    """A package and a checkpoint are safetensors, JSON and Markdown; so is the config that the family adds."""
    with _packaged(subject) as made:
        try:
            json.dumps(dict(made.loaded.config), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"`Loaded.config` is no JSON: {error}") from error
        state = loop.start(made.loaded, Recipe(), Runtime(Compute(device="cpu")), made.package.manifest.task)
        checkpoint.restore(checkpoint.save(made.package.folder / "checkpoints", state, {}), state)
        for path in made.package.folder.rglob("*"):
            expect(path.is_dir() or path.suffix in PLAIN, f"{path.name} is saved, neither tensors nor text")
            if path.suffix == ".safetensors":
                tensors.header(path)


@check(saved_files_hold_no_pickle, filled_build_computes_the_same, reference_loads_it_again)
def package_gives_equal_logits(subject: Subject) -> None:
    """A package proves its self-test, and the model loaded from it gives the same logits to the bit."""
    with _packaged(subject) as made:
        _expect_equal(made)


@check(package_gives_equal_logits)
def delta_rebuilds_equal_bits(subject: Subject) -> None:
    """A package that takes the body from the pretrained base rebuilds every bit of the state, and equal logits."""
    if not subject.declared.weights:
        raise SkipTest("it does not say that its weights can be had without a network (weights)")
    with _packaged(subject, kind="delta") as made:
        expect(bool(made.package.manifest.delta), "the delta takes nothing from its base")
        _expect_equal(made)


@check(package_gives_equal_logits)
def class_names_are_only_names(subject: Subject) -> None:
    """Class names with newlines, markup, escapes, paths, 10 kB, empty or twice come back as they were."""
    with _packaged(subject, HOSTILE) as made:
        found = load.model(package.read(made.package.folder), trust=True)
        facts: Any = found.hubft
        expect(facts["classes"] == list(HOSTILE), "the classes of the loaded model are not those of the package")
        outputs = compute(made.loaded, noise(made.loaded, 1), found)
        expect(outputs.shape == (1, len(HOSTILE)), f"{len(HOSTILE)} classes have {list(outputs.shape)} outputs")


@dataclass(frozen=True)
class Made:
    """A package beside the model that it was made of."""

    package: package.Package
    loaded: Loaded
    state: dict[str, Tensor]

    @property
    def model(self) -> nn.Module:
        return self.loaded.model


@contextmanager
def _packaged(
    subject: Subject, classes: tuple[str, ...] = CLASSES, kind: Literal["full", "delta"] = "full"
) -> Iterator[Made]:
    """Give a package of the model with a head for the classes: for a delta, on its pretrained weights."""
    job = replace(subject.job(replace(HEAD, outputs=len(classes))), package=kind)
    loaded = subject.build() if kind == "full" else subject.load(pretrained=True)
    base = digest.of_tensors(loaded.model.state_dict())
    loaded = build.adapt(subject.pm, job, loaded)
    values.draw(loaded.model.get_submodule(loaded.head))
    facts = replace(loaded.base, sha256=digest.of_state(base))
    manifest = package.Manifest(job, Classification(classes), loaded.preprocess, facts)
    proof = selftest.make(loaded)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "package"
        written = package.write(where, manifest, loaded.model.state_dict(), proof, base)
        yield Made(package.Package(where, written), loaded, copied(loaded.model))


def _expect_equal(made: Made) -> None:
    found = package.read(made.package.folder)
    again = load.filled(found, trust=True)
    model = again.model
    wrong = differing(made.state, copied(model))
    expect(not wrong, f"loaded again, it has other bits in {shown(wrong)}")
    selftest.prove(found, again)
    inputs = noise(made.loaded)
    wrong_logits = differing({"logits": compute(made.loaded, inputs)}, {"logits": compute(again, inputs)})
    expect(not wrong_logits, "loaded again, it gives other logits: `adapt_head` keeps something outside of the state")


CHECKS = (
    saved_files_hold_no_pickle,
    package_gives_equal_logits,
    delta_rebuilds_equal_bits,
    class_names_are_only_names,
)
