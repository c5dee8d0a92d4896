"""From a package to its model: the same bits, by either way, and a plain module."""

import io
import pickle
import threading
from pathlib import Path
from typing import Any

import nets
import packages
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

from hubft import Base, Head, Job, Preprocess
from hubft.base import digest
from hubft.base.errors import BaseMismatch, FamilyError, PackageError
from hubft.families import plugins
from hubft.families.build import build, parameters_on_meta, unfilled
from hubft.publish import package
from hubft.share import load


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    return digest.of_tensors(a.state_dict()) == digest.of_tensors(b.state_dict())


@pytest.mark.parametrize("compress", ["none", "bf16"])
@pytest.mark.parametrize("kind", ["full", "delta"])
def test_the_loaded_model_has_the_trained_ones_bits(tmp_path: Path, kind: str, compress: str) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job(package=kind, compress=compress))
    loaded = load.load(str(tmp_path / "p"), prove=True)
    assert same_bits(loaded, trained)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), trained(images))  # also: the buffer that is not saved has its values


def test_a_delta_holds_only_what_differs(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job(package="delta"))
    found = package.read(tmp_path / "p")
    assert found.manifest.delta is not None
    reused = {"stem.0.weight", "block.0.weight", "stem.1.num_batches_tracked"}
    assert reused <= set(found.manifest.delta)
    assert not any("running" in name or "head" in name for name in found.manifest.delta)
    assert not (tmp_path / "p" / package.WEIGHTS).exists()


def test_it_is_a_plain_module_in_eval_mode_with_two_attributes(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    model = load.load(str(tmp_path / "p"))
    assert type(model).__module__ == "hubft_toy" and not any(m.training for m in model.modules())
    assert model.hubft["classes"] == list(packages.CLASSES)
    assert model.hubft["metrics"] == packages.ACCURACY
    assert model.hubft["reference"] == "toy:small" and model.hubft["base"]["revision"] == "1"
    assert type(model.hubft) is dict and model.hubft["preprocess"]["resize"] == 36
    assert [name for name, _ in model.named_children()] == ["stem", "block", "drop", "head"]


def test_a_photograph_taken_sideways_is_seen_upright(tmp_path: Path) -> None:
    """Also by who hands over what Image.open gave, and by a model that was pickled."""
    packages.write(tmp_path / "p", packages.toy_job())
    model = pickle.loads(pickle.dumps(load.load(str(tmp_path / "p"))))
    upright = nets.picture(60, 90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.png", exif=exif)
    with Image.open(tmp_path / "sideways.png") as sideways:
        assert torch.equal(model.preprocess(sideways), model.preprocess(upright))


def test_the_transform_is_no_child_of_the_model() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    load.describe(model, "toy:small", Preprocess(size=(32, 32), resize=36), {})
    assert len(list(model.children())) == 1
    model(torch.zeros(1, 2))


def test_it_trains_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    weights = tmp_path / "p" / package.WEIGHTS
    before = digest.of_file(weights)
    model = load.load(str(tmp_path / "p")).train()
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    old = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert not any(torch.equal(old[name], p) for name, p in model.named_parameters())
    assert digest.of_file(weights) == before
    package.read(tmp_path / "p")


def test_replacing_a_package_does_not_reach_a_loaded_model(tmp_path: Path) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job())
    loaded = load.load(str(tmp_path / "p"))
    packages.write(tmp_path / "p", packages.toy_job(compress="bf16"))
    assert same_bits(loaded, trained)


def test_a_runs_folder_is_accepted(tmp_path: Path) -> None:
    trained = packages.write(tmp_path / "run" / "package", packages.toy_job())
    assert same_bits(load.load(str(tmp_path / "run")), trained)
    with pytest.raises(PackageError, match="has no revision"):
        load.load(str(tmp_path / "run"), revision="main")
    with pytest.raises(PackageError, match=r"is no package: it has no hubft\.json"):
        load.load(str(tmp_path))


# ---- the base of a delta ---------------------------------------------------------------------------


@pytest.fixture
def altered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base has other bytes in two tensors."""
    import hubft_toy

    fill = hubft_toy.fill

    def otherwise(model: nn.Module) -> None:
        fill(model)
        with torch.no_grad():
            model.stem[0].weight[0, 0, 0, 0] += 1e-3  # type: ignore[index]
            model.block[0].weight[0, 0, 0, 0] += 1e-3  # type: ignore[index]

    monkeypatch.setattr(hubft_toy, "fill", otherwise)


def test_another_base_is_refused_by_its_first_tensor(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    packages.write(tmp_path / "p", packages.toy_job(package="delta"))
    request.getfixturevalue("altered")
    with pytest.raises(BaseMismatch, match=r"toy:small .* tensor 'stem\.0\.weight'"):
        load.load(str(tmp_path / "p"))


def test_a_full_package_needs_no_base(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job())
    request.getfixturevalue("altered")
    assert same_bits(load.load(str(tmp_path / "p")), trained)


def test_a_base_that_is_the_same_may_serve(tmp_path: Path) -> None:
    base = Base("toy:remote", same_as=("toy:small",))
    trained = packages.write(tmp_path / "p", packages.toy_job(package="delta"), base=base)
    assert same_bits(load.load(str(tmp_path / "p")), trained)


def test_a_base_that_is_missing_is_named_and_no_wheel_of_the_file(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    base = Base("toy:remote", same_as=("toy:small", "absent:small"), requires="absent-model")
    packages.write(tmp_path / "p", packages.toy_job(package="delta"), base=base)
    request.getfixturevalue("altered")
    needs = (
        r"^this delta needs its base toy:remote \(toy:remote .* nor toy:small: .*stem.* nor absent:small: this needs"
    )
    with pytest.raises(PackageError, match=needs) as caught:
        load.load(str(tmp_path / "p"))
    assert "pip install" not in str(caught.value) and "absent-model" not in str(caught.value)


def test_trust_in_a_base_is_none_in_what_may_serve_instead(tmp_path: Path) -> None:
    base = Base("toy:remote", same_as=(f"hub:{tmp_path}/theirs:small",))
    packages.write(tmp_path / "p", packages.toy_job(package="delta"), base=base)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "hubconf.py").write_text("raise SystemExit('I was run')")
    with pytest.raises(PackageError, match=r"nor hub:.*: loading this package runs the code of hub:"):
        load.load(str(tmp_path / "p"), trust=True)


def test_a_delta_that_reuses_what_the_model_has_not_is_refused(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job(package="delta"))

    def change(data: dict[str, Any]) -> None:
        data["head"]["hidden"] = [2]  # the head is another: its tensors are not those of the file

    packages.rewrite(tmp_path / "p", change)
    with pytest.raises(PackageError, match=r"lacks 'head\.0\.weight'"):
        load.load(str(tmp_path / "p"))


# ---- parameters without memory ---------------------------------------------------------------------


def test_only_this_threads_parameters_go_to_the_meta_device() -> None:
    found: list[nn.Module] = []
    with parameters_on_meta():
        thread = threading.Thread(target=lambda: found.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        mine = nn.BatchNorm2d(2)
    assert not any(p.is_meta for p in found[0].parameters())
    assert all(p.is_meta for p in mine.parameters()) and not any(b.is_meta for b in mine.buffers())
    assert not nn.Linear(2, 2).weight.is_meta


@pytest.mark.parametrize("name", ["vit_tiny_r_s16_p8_224", "swin_tiny_patch4_window7_224"])
def test_what_cannot_be_built_without_memory_is_built_whole(name: str) -> None:
    """A hybrid runs its parameters while it is built; Swin computes a mask with them that is not saved."""
    pm = plugins.manager("timm")
    job = Job(f"timm:{name}", "-", head=Head(outputs=2))
    model = unfilled(lambda: build(pm, job, pretrained=False)).model
    assert not any(buffer.is_meta for buffer in model.buffers())
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 2)


def test_a_tensor_without_values_is_never_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hubft_toy

    packages.write(tmp_path / "p", packages.toy_job())
    linspace = torch.linspace
    monkeypatch.setattr(hubft_toy.torch, "linspace", lambda *a: linspace(*a, device="meta"))
    with pytest.raises(FamilyError, match="taper has no values"):
        load.load(str(tmp_path / "p"))


def test_loading_leaves_the_random_generator_alone(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    before = torch.get_rng_state()
    load.load(str(tmp_path / "p"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_can_be_saved_and_copied(tmp_path: Path) -> None:
    trained = packages.write(tmp_path / "p", packages.toy_job())
    buffer = io.BytesIO()
    torch.save(load.load(str(tmp_path / "p")), buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    assert same_bits(again, trained) and again.hubft["classes"] == list(packages.CLASSES)


# ---- families that run foreign code ----------------------------------------------------------------


def test_the_fine_tune_of_foreign_code_is_loaded_on_request_only(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "hubconf.py").write_text(
        "from torch import nn\n\ndef tiny(pretrained=False):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))\n"
    )
    job = Job(f"hub:{tmp_path / 'repo'}:tiny", "d", head=Head(outputs=len(packages.CLASSES)))
    trained = packages.write(tmp_path / "p", job)
    with pytest.raises(PackageError, match=r"runs the code of hub:.*trust=True"):
        load.load(str(tmp_path / "p"))
    assert same_bits(load.load(str(tmp_path / "p"), trust=True, prove=True), trained)
