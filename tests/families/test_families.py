"""The families of this repository keep the contract, and say what they do not have."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import nets
import pytest
import texts

from hubft.base.errors import HubftError
from hubft.families import plugins
from hubft.images import transforms
from hubft.testing import CHECKS, Trial

SMALL = [
    ("torchvision", ""),
    ("torchvision", "squeezenet1_1"),  # its head is a convolution
    ("torchvision", "mnasnet0_5"),  # it refuses a state without versions of its modules
    ("timm", ""),
    ("timm", "test_vit"),
    ("timm", "dla46_c"),  # its head is a convolution
    ("timm", "deit_tiny_distilled_patch16_224"),  # it has two heads
    ("pip", ""),
    ("hub", "{checkout}:small"),
]
"""Families with their examples, and with further models; then the checks that start a process are left out."""
PROCESSES = {name for name in CHECKS if name.startswith("import_")} | {"new_process_computes_the_same"}
NOT_FOR = {
    "own_methods_stay_in_tolerance": {"torchvision", "timm", "pip", "hub"},  # none has methods
    "delta_rebuilds_equal_bits": {"torchvision", "timm", "hub"},  # no weights without a network
    "frozen_norms_stand_still": {"squeezenet1_1", "test_vit", "deit_tiny_distilled_patch16_224"},  # no such norms
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.checkout(tmp_path_factory.mktemp("nets"))


@pytest.mark.parametrize(("family", "name"), SMALL, ids=lambda part: part.rpartition(":")[2] or "example")
def test_families_keep_the_contract(family: str, name: str, checkout: Path) -> None:
    trial = Trial.of(family, name.format(checkout=checkout), CHECKS)
    left_out = set() if not name or family == "hub" else PROCESSES
    found = [trial.outcome(check) for check in CHECKS.values() if check.name not in left_out]
    assert not [outcome for outcome in found if outcome.status not in ("passed", "skipped")]
    skipped = {outcome.check for outcome in found if outcome.status == "skipped"}
    assert skipped == {check for check, which in NOT_FOR.items() if {family, name} & which}


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])  # heads of one layer, of two, and on every token
def test_models_of_text_keep_the_contract(kind: str, tmp_path: Path) -> None:
    trial = Trial.of("transformers", str(texts.model(tmp_path / kind, kind, pad_token_id=0)), CHECKS)
    left_out = set() if kind == "bert" else PROCESSES
    found = [trial.outcome(check) for check in CHECKS.values() if check.name not in left_out]
    assert not [outcome for outcome in found if outcome.status not in ("passed", "skipped")]
    skipped = {outcome.check for outcome in found if outcome.status == "skipped"}
    assert {"own_methods_stay_in_tolerance", "delta_rebuilds_equal_bits"} == skipped - {"frozen_norms_stand_still"}


@pytest.mark.parametrize(("family", "name"), SMALL, ids=lambda part: part.rpartition(":")[2] or "example")
def test_models_are_built_without_memory_for_their_parameters(family: str, name: str, checkout: Path) -> None:
    """The contract lets the core build them whole where that cannot be; with these it can."""
    pm = plugins.manager(family)
    bare = nets.on_meta(pm, name.format(checkout=checkout) or plugins.declared(pm, family).example).model
    assert all(parameter.is_meta for parameter in bare.parameters())
    assert not any(buffer.is_meta for buffer in bare.buffers())


def test_transforms_go_to_a_process_without_hubft(checkout: Path) -> None:
    """The models go there by the contract."""
    known = [nets.on_meta(plugins.manager(f), n.format(checkout=checkout)).preprocess for f, n in SMALL if n]
    sent = [transforms.evaluation(preprocess) for preprocess in known]
    code = """
import pickle, sys
sys.modules["hubft"] = None  # an import of it fails
from PIL import Image
for transform in pickle.load(sys.stdin.buffer):
    print(*transform(Image.new("RGB", (90, 70))).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(sent), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines() == [f"3 {p.size[0]} {p.size[1]}" for p in known]


@pytest.mark.parametrize(
    ("family", "name", "says"),
    [
        ("torchvision", "resnet51", "Did you mean 'resnet50'"),
        ("torchvision", "resnet50@IMAGENET1K_V3", "it has IMAGENET1K_V1, IMAGENET1K_V2.*Did you mean"),
        ("torchvision", "vgg16@IMAGENET1K_FEATURES", "no classifier"),
        ("torchvision", "fcn_resnet50", "no classifier"),
        ("timm", "resnet_18", "Did you mean"),
        ("timm", "resnet18.a9_in1k", r"Did you mean 'resnet18\."),
        ("timm", "tf_efficientnet_b0_ns", "knows no model"),  # an old name, which timm itself still maps
        ("timm", "hf-hub:someone/model", "knows no model"),
        ("pip", "efficientnet_lite5", "it has efficientnet_lite0, efficientnet_lite1"),
        ("hub", "small", "names no entry"),
        ("hub", "{checkout}:smal", "Did you mean 'small'"),
        ("hub", "{checkout}/nowhere:small", r"no hubconf\.py"),
        ("hub", "neither:small", "neither owner/repo on GitHub nor a path"),
        ("hub", "{checkout}:raising", "failed: ValueError: two lines"),
        ("hub", "{checkout}:leaving", "failed: SystemExit: 3"),
        ("hub", "{checkout}:no_model", "gave a str"),
        ("hub", "{checkout}:several", "neither the outputs of a head nor features|several tensors"),
        ("hub", "{checkout}:with_strange_transform", "with_strange_transform: no preprocessing can be read"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(checkout: Path, family: str, name: str, says: str) -> None:
    with pytest.raises(HubftError) as caught:
        nets.on_meta(plugins.manager(family), name.format(checkout=checkout))
    assert re.search(says, str(caught.value)) and "\n" not in str(caught.value)
