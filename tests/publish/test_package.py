"""The format: whole or not at all, and nothing in it is believed."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import packages
import pytest
import safetensors.torch
import torch
import toy_family
from jobs import EVERY_FIELD
from torch import nn
from torchvision.transforms import v2

from hubft import Base, Preprocess
from hubft.base.errors import HubftError, PackageError
from hubft.base.serialize import to_dict
from hubft.families import plugins
from hubft.images import transforms
from hubft.publish import manifest, package, selftest, tensors
from hubft.share.load import filled, load
from hubft.share.load import model as load_model
from hubft.tasks.classification import Classification

GOLDEN = Path(__file__).parents[1] / "golden" / "schema1"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    packages.write(tmp_path / "full", packages.toy_job())
    return tmp_path / "full"


def test_manifest_comes_back_equal_and_without_paths(full: Path) -> None:
    found = package.read(full).manifest
    assert found.job.data == "mine"
    assert found.task == Classification(packages.CLASSES)
    data = json.loads((full / package.MANIFEST).read_text())
    assert data["schema"] == 2 and data["head"]["outputs"] == 3 and not {"head", "task"} & data["job"].keys()
    assert data["task"] == {"kind": "classification", "classes": list(packages.CLASSES), "counts": []}
    assert data["inputs"]["kind"] == "images" and "preprocess" not in data
    assert sorted(data["files"]) == ["README.md", "model.safetensors", "selftest.safetensors"]
    assert sorted(p.name for p in full.iterdir()) == sorted([*data["files"], "hubft.json"])
    assert [p.name for p in full.parent.iterdir()] == ["full"]


def test_bfloat16_is_stored_where_every_number_fits(tmp_path: Path, full: Path) -> None:
    packages.write(tmp_path / "half", packages.toy_job(compress="bf16"))
    kinds = {
        where.name: {dtype for dtype, _ in tensors.header(where / package.WEIGHTS).values()}
        for where in (full, tmp_path / "half")
    }
    assert kinds == {"full": {torch.float32, torch.int64}, "half": {torch.bfloat16, torch.int64}}


def test_tied_tensors_are_stored_once_and_views_as_they_are(tmp_path: Path) -> None:
    weight = torch.rand(2, 2)
    tensors.save(tmp_path / "tied.safetensors", {"a": weight, "b": weight, "c": weight.t()})
    assert set(tensors.header(tmp_path / "tied.safetensors")) == {"a", "c"}
    like = {"a": weight, "b": weight, "c": weight}
    back = tensors.read(tmp_path / "tied.safetensors", like, {"b": "a"})
    assert torch.equal(back["a"], weight) and torch.equal(back["c"], weight.t())
    with pytest.raises(PackageError, match="lacks 'b'"):
        tensors.read(tmp_path / "tied.safetensors", like)


class Tied(toy_family.Small):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(32, 32)
        self.once = nn.Linear(32, 32)
        self.once.weight = self.again.weight

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.block(self.stem(images)).mean((2, 3))
        return self.head(self.once(self.again(features)))


@pytest.mark.parametrize("compress", ["none", "int8"])
@pytest.mark.parametrize("once", [True, False])
def test_tied_parameters_stay_tied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: str, once: bool) -> None:
    """Also those of a package in which they are stored twice, as they were before."""
    plugin = plugins.manager("toy").get_plugin("toy")
    monkeypatch.setattr(plugin, "Small", Tied)
    monkeypatch.setitem(plugin.STAGES, "block", ("block", "again", "once"))
    trained = packages.write(tmp_path / "p", packages.toy_job(compress=compress))
    path = tmp_path / "p" / package.WEIGHTS
    state = safetensors.torch.load_file(path)
    assert "again.weight" in state and "once.weight" not in state
    if not once:
        twice = {n.replace("again.weight", "once.weight"): t.clone() for n, t in state.items() if "again.weight" in n}
        safetensors.torch.save_file({**state, **twice}, path)
        packages.refile(tmp_path / "p", package.WEIGHTS)
    model: Any = load(tmp_path / "p", prove=True)
    assert model.once.weight is model.again.weight
    assert torch.equal(model.once.weight, trained.get_parameter("again.weight"))


@pytest.mark.parametrize("name", [package.MANIFEST, package.WEIGHTS, package.SELFTEST])
def test_a_flipped_bit_is_noticed_in_every_file(full: Path, name: str) -> None:
    whole = (full / name).read_bytes()
    for place in [*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        altered = bytearray(whole)
        altered[place] ^= 1
        (full / name).write_bytes(altered)
        with pytest.raises(PackageError):
            package.read(full)
    (full / name).write_bytes(whole[:-1])
    with pytest.raises(PackageError):
        package.read(full)
    (full / name).unlink()
    with pytest.raises(PackageError, match=r"missing|is no package"):
        package.read(full)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(PackageError, match="is no package: nothing was written"):
        packages.write(tmp_path, packages.toy_job())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# ---- crashes ---------------------------------------------------------------------------------------


def test_sigkill_leaves_the_old_package_or_the_new(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    packages.write(folder, packages.toy_job())

    def forever() -> None:
        for i in count():
            packages.write(folder, packages.toy_job(), classes=(f"{i}", "b", "c"))

    for _ in range(12):
        child = multiprocessing.get_context("fork").Process(target=forever)
        child.start()
        time.sleep(random.uniform(0.02, 0.15))
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        found = package.locate(folder)
        assert found and len(package.read(found).manifest.task.names) == 3
    packages.write(folder, packages.toy_job())
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_crash_between_the_renames_keeps_the_old(full: Path, which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, rename = count(), Path.rename

    def crash(self: Path, target: Path) -> Path:
        if next(calls) == which:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        packages.write(full, packages.toy_job(), classes=("x", "y", "z"))
    monkeypatch.undo()
    found = package.locate(full)
    assert found and package.read(found).manifest.task.names == packages.CLASSES
    packages.write(full, packages.toy_job(), classes=("x", "y", "z"))
    assert package.read(full).manifest.task.names == ("x", "y", "z")
    assert [p.name for p in full.parent.iterdir()] == ["full"]


# ---- hostile manifests -----------------------------------------------------------------------------


def at(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


HOSTILE = {
    "no schema": (at("schema", value="1"), "no schema of hubft"),
    "newer": (at("schema", value=3), "newer hubft .*: update hubft"),
    "unknown key": (at("run_this", value="rm"), "unknown key 'run_this'"),
    "unknown key of the job": (at("job", "epohcs", value=3), "unknown key 'epohcs'"),
    "schema 0": (at("schema", value=0), "no schema of hubft"),
    "schema of another": (at("schema", value=1), "unknown key|must be an object"),
    "head twice": (at("job", "head", value={}), "head stand beside it"),
    "no head": (at("head", value=None), "expected an object"),
    "the head of schema 1": (at("job", "task", value={"outputs": 3}), "unknown key 'task'"),
    "the classes of schema 1": (at("classes", value=["ant", "bee", "cat"]), "unknown key 'classes'"),
    "no task": (at("task", value=None), "a task must be an object with a kind"),
    "task is a list": (at("task", value=["classification"]), "a task must be an object with a kind"),
    "task without a kind": (at("task", value={"classes": ["ant", "bee", "cat"]}), "a task must be an object with a k"),
    "kind is a list": (at("task", "kind", value=["classification"]), "a task must be an object with a kind"),
    "kind of nothing": (at("task", "kind", value="clasification"), "is none of .*Did you mean 'classification'"),
    "kind is a module": (at("task", "kind", value="hubft.cli.main"), "task 'hubft.cli.main' is none of classification"),
    "kind is a file": (at("task", "kind", value="losses"), "task 'losses' is none of classification"),
    "unknown key of the task": (at("task", "run_this", value="rm"), "unknown key 'run_this'"),
    "counts no numbers": (at("task", "counts", value=["many"]), "not int"),
    "inputs of another kind": (at("inputs", "kind", value="sounds"), "inputs must be an object of a kind among images"),
    "no inputs": (at("inputs", value=None), "inputs must be an object of a kind among images"),
    "inputs is a list": (at("inputs", value=[]), "inputs must be an object of a kind among images"),
    "preprocess beside inputs": (at("preprocess", value={}), "unknown key 'preprocess'"),
    "a change of structure": (at("structure", value=[{"kind": "pruned"}]), "not known here: update hubft"),
    "job is a list": (at("job", value=[]), "job must be an object"),
    "wrong type": (at("job", "recipe", "epochs", value="many"), "not int"),
    "an endless number": (at("job", "recipe", "lr", value=10**4000), "."),
    "wide head": (at("head", "hidden", value=[65536] * 8), "needs more numbers"),
    "wider head": (at("head", "hidden", value=[10**9]), "hidden 1000000000: must be in 1..65536"),
    "many outputs": (at("head", "outputs", value=10**9), "outputs"),
    "fewer classes": (at("task", "classes", value=["ant"]), "1 class names for 3 outputs"),
    "classes no list": (at("task", "classes", value="ant"), "classes"),
    "one class twice": (at("task", "classes", value=["ant", "bee", "ant"]), "2 class names are 'ant'"),
    "a class of controls": (at("task", "classes", value=["ant", "bee", "\x1b[31m"]), r"class '\\x1b\[31m' "),
    "size": (at("inputs", "size", value=[10**6, 10**6]), "must lie in"),
    "crop": (at("inputs", "crop", value="eval"), "crop 'eval'"),
    "white": (at("inputs", "white", value=0), "white 0 must lie in 1..65535"),
    "reference": (at("job", "reference", value="os.system"), "no model reference"),
    "base": (at("base", "reference", value="../../x"), "no model reference"),
    "same as": (at("base", "same_as", value=["x"]), "no model reference"),
    "requires": (at("base", "requires", value="--index-url=http://evil x"), "no distribution"),
    "regular expression": (at("job", "recipe", "train", value="match:a{99999999999999999}"), "."),
    "delta in a full package": (at("delta", value={}), "delta says otherwise"),
    "path": (at("files", "../../.bashrc", value={"sha256": "0" * 64, "size": 1, "role": "weights"}), "files"),
    "no file": (at("files", value={}), "files"),
    "a role of none": (at("files", "README.md", "role", value="code"), "each with its role"),
    "a role of another": (at("files", "README.md", "role", value="weights"), "each with its role"),
    "no role": (lambda data: data["files"]["README.md"].pop("role"), "role"),
    "sha256": (at("files", "README.md", "sha256", value="x"), "no sha256"),
    "size of a file": (at("files", "model.safetensors", "size", value=-1), "needs more numbers"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifests_are_refused_in_one_line(full: Path, name: str) -> None:
    change, words = HOSTILE[name]
    packages.rewrite(full, change)
    with pytest.raises(PackageError, match=words) as caught:
        package.read(full)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


EVERY_KEY = {
    "metrics": {"headline": "accuracy", **packages.ACCURACY, "loss": 0.25, "test": packages.ACCURACY},
    "data": {"train": {"samples": 60, "sha256": "b" * 64}},
    "frozen": {"tensors": 7, "sha256": "c" * 64},
    "settled": {"epochs": 3, "precision": "fp32"},
    "versions": {"python": "3.11.7"},
}


@pytest.mark.parametrize("kind", ["full", "delta"])
def test_every_key_of_a_manifest_comes_back(tmp_path: Path, kind: Any) -> None:
    """Each field has another value than its default, but for what is unknown yet and refused."""
    job = replace(EVERY_FIELD, package=kind).with_outputs(3).published()
    base = Base("package:mine", "r", "mit", "dist", "me/mine", ("toy:small",), ("toy:medium", "toy:small"), "a" * 64)
    base = replace(base, config={"layers": 2})
    names = [manifest.DELTA if kind == "delta" else package.WEIGHTS, *(package.SELFTEST, package.CARD)]
    names += [package.PICTURE, package.CONFIG]
    stated = manifest.Manifest(
        job,
        Classification(packages.CLASSES, (20, 30, 10)),
        Preprocess((48, 40), (52, 44), "squash", "nearest", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bgr", 4095),
        base,
        delta={"stem.0.weight": "d" * 64} if kind == "delta" else None,
        files={name: manifest.File("e" * 64, 10**9, manifest.ROLES[name]) for name in names},
        **EVERY_KEY,
    )
    (tmp_path / package.MANIFEST).write_text(manifest.to_json(stated), encoding="ascii")
    found = manifest.read(tmp_path / package.MANIFEST)
    assert found == stated and manifest.to_json(found) == manifest.to_json(stated)
    plain = json.loads(manifest.to_json(stated))
    beside = {"schema", "seal", "head", "inputs", "task"}
    assert plain.keys() == {one.name for one in fields(manifest.Manifest)} | beside
    for one in (stated, stated.task, stated.inputs, stated.base):
        same = [f.name for f in fields(one) if f.default is not MISSING and getattr(one, f.name) == f.default]
        assert set(same) <= {"schema", "structure", "delta" if kind == "full" else "schema"}, one


# ---- schema 1 --------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A package that was written with schema 1."""
    return Path(shutil.copytree(GOLDEN / "full", tmp_path / "old"))


def test_a_manifest_of_schema_1_is_one_of_today(old: Path) -> None:
    plain, found = json.loads((old / package.MANIFEST).read_text()), package.read(old).manifest
    assert found.task == Classification(("daisy", "rose", "tulip")) and found.schema == manifest.SCHEMA
    assert found.picture == "confusion.png" and found.job.head.outputs == plain["task"]["outputs"] == 3
    assert json.loads(json.dumps(to_dict(found.inputs))) == plain["preprocess"]
    assert found.metrics == plain["metrics"]
    assert (found.data, found.frozen, found.versions) == (plain["data"], plain["frozen"], plain["versions"])
    assert {name: (file.sha256, file.size) for name, file in found.files.items()} == {
        name: (file["sha256"], file["size"]) for name, file in plain["files"].items()
    }


HOSTILE_1 = {
    "unknown key": (at("run_this", value="rm"), "unknown key 'run_this'"),
    "task twice": (at("job", "task", value={}), "unknown key 'task'"),
    "head of schema 2": (at("job", "head", value={}), "head stand beside it"),
    "head beside it": (at("head", value={"outputs": 3}), "unknown key 'head'"),
    "inputs beside it": (at("inputs", value={"kind": "images"}), "unknown key 'inputs'"),
    "no task": (at("task", value=None), "expected an object"),
    "task of schema 2": (at("task", value={"kind": "classification", "classes": ["a", "b", "c"]}), "unknown key"),
    "job is a list": (at("job", value=[]), "job must be an object"),
    "wide head": (at("task", "hidden", value=[65536] * 8), "needs more numbers"),
    "many outputs": (at("task", "outputs", value=10**9), "outputs"),
    "fewer classes": (at("classes", value=["ant"]), "1 class names for 3 outputs"),
    "no classes": (at("classes", value=None), "classes"),
    "classes no list": (at("classes", value="ant"), "classes"),
    "no preprocess": (at("preprocess", value=None), "inputs must be an object"),
    "preprocess a list": (at("preprocess", value=[]), "inputs must be an object"),
    "size": (at("preprocess", "size", value=[10**6, 10**6]), "must lie in"),
    "path": (at("files", "../../.bashrc", value={"sha256": "0" * 64, "size": 1}), "files"),
    "a file with a role": (at("files", "../x", value={"sha256": "0" * 64, "size": 1, "role": "card"}), "files"),
    "files a list": (at("files", value=[]), "files"),
    "a file a text": (at("files", "README.md", value="x"), "expected an object"),
    "size of a file": (at("files", "model.safetensors", "size", value=-1), "needs more numbers"),
}


@pytest.mark.parametrize("name", HOSTILE_1)
def test_hostile_manifests_of_schema_1_are_refused_in_one_line(old: Path, name: str) -> None:
    change, words = HOSTILE_1[name]
    packages.rewrite(old, change)
    with pytest.raises(PackageError, match=words) as caught:
        package.read(old)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"schema": 1, "schema": 1}', b'{"schema": NaN}', b"[" * 100_000, b'{"a": ' * 100_000, b"\xff"],
)
def test_no_json_is_refused(full: Path, text: bytes) -> None:
    (full / package.MANIFEST).write_bytes(text)
    with pytest.raises(PackageError, match=r"hubft\.json"):
        package.read(full)


def test_a_huge_manifest_is_not_read(full: Path) -> None:
    with (full / package.MANIFEST).open("r+b") as file:
        file.truncate(manifest.MANIFEST_LIMIT + 1)
    with pytest.raises(PackageError, match="at most"):
        package.read(full)


@pytest.mark.parametrize(
    "name", ["class", "hubft.json", "model.bin", "../README.md", "README.md\n", "delta.safetensors"]
)
def test_a_manifest_that_names_another_file_is_refused(full: Path, name: str) -> None:
    packages.rewrite(full, lambda data: data["files"].update({name: data["files"]["README.md"]}))
    with pytest.raises(
        PackageError,
        match=r"files \[.*\] must be model\.safetensors, selftest\.safetensors, README\.md, and at most picture\.png, "
        r"config\.json and what its library reads beside that, each with its role",
    ):
        package.read(full)


@pytest.mark.parametrize("name", [package.PICTURE, package.CONFIG])
def test_the_files_that_may_be_missing_are_verified_where_they_are_named(full: Path, name: str) -> None:
    (full / name).write_bytes(b"abc")
    packages.refile(full, name)
    assert name in package.read(full).manifest.files
    (full / name).write_bytes(b"abd")
    with pytest.raises(PackageError, match="was altered"):
        package.read(full)
    (full / name).unlink()
    with pytest.raises(PackageError, match="is missing"):
        package.read(full)


def test_a_stranger_s_config_is_never_read(full: Path) -> None:
    (full / package.CONFIG).write_text('{"architecture": "x", "model_args": {"layers": [1000000000]}}')
    (full / package.PICTURE).write_bytes(b"no picture")
    packages.refile(full, package.CONFIG)
    packages.refile(full, package.PICTURE)
    opened: list[str] = []
    watching = True  # a hook cannot be removed
    sys.addaudithook(lambda event, about: opened.append(str(about[0])) if watching and event == "open" else None)
    load_model(package.read(full, verify=False))
    watching = False
    assert str(full / package.MANIFEST) in opened
    assert not [path for path in opened if path.endswith((package.CONFIG, package.PICTURE, package.CARD))]


def test_the_readers_card_is_nobody_s_input(full: Path) -> None:
    (full / package.CARD).write_text("# My own words")
    load_model(package.read(full))
    (full / package.CARD).unlink()
    with pytest.raises(PackageError, match="is missing"):
        package.read(full)


# ---- hostile weights -------------------------------------------------------------------------------


def raw(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


ENTRY = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
RAW = {
    "empty": b"",
    "huge length": raw(b"{}", length=2**63),
    "beyond the file": raw(b"{}", length=1000),
    "beyond the limit": raw(b" " * (tensors.HEADER_LIMIT + 1)),
    "no JSON": raw(b"{{"),
    "twice": raw(b'{"a": ' + ENTRY + b', "a": ' + ENTRY + b"}", b"1234"),
    "dtype": raw(b'{"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}', b"1"),
    "negative": raw(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"1234"),
    "out of bounds": raw(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [400, 404]}}', b"1234"),
    "overlap": raw(b'{"a": ' + ENTRY + b', "b": ' + ENTRY + b"}", b"1234"),
    "bytes left over": raw(b'{"a": ' + ENTRY + b"}", b"12345678"),
}


@pytest.mark.parametrize("name", RAW)
def test_broken_weights_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(RAW[name])
    one = torch.zeros(1)
    like = {"a": one, "b": one} if name == "overlap" else {"a": one}
    with pytest.raises(PackageError):
        tensors.read(path, like)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("head.bias"), "lacks 'head.bias'"),
        (lambda state: state.update(extra=torch.zeros(1)), "has 'extra'"),
        (lambda state: state.update({"head.bias": torch.zeros(4)}), r"head.bias is .* \[4\]"),
        (lambda state: state.update({"head.bias": torch.zeros(3).half()}), "head.bias is torch.float16"),
        (lambda state: state.update({"stem.1.num_batches_tracked": torch.zeros(())}), "num_batches_tracked is"),
    ],
)
def test_weights_of_another_model_are_refused(
    full: Path, change: Callable[[dict[str, torch.Tensor]], Any], words: str
) -> None:
    state = safetensors.torch.load_file(full / package.WEIGHTS)
    change(state)
    safetensors.torch.save_file({name: t.clone() for name, t in state.items()}, full / package.WEIGHTS)
    packages.refile(full, package.WEIGHTS)
    with pytest.raises(PackageError, match=words):
        load_model(package.read(full))


# ---- self-test -------------------------------------------------------------------------------------


def test_the_selftest_proves_weights_and_preprocessing(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = package.read(full)
    loaded, preprocess = filled(found), found.manifest.inputs
    assert selftest.prove(found, loaded) == 0
    right = transforms.evaluation(preprocess)
    rest = right.transforms[2:]
    tensor = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    without_antialias = v2.Compose([*tensor, v2.Resize(36, antialias=False), rest[0], *rest[2:]])
    other_mean = v2.Compose([right, v2.Lambda(lambda x: x + 0.1)])
    for wrong in (without_antialias, other_mean):
        with monkeypatch.context() as patch, pytest.raises(PackageError, match="self-test"):
            patch.setattr(transforms, "evaluation", lambda _, wrong=wrong: wrong)
            selftest.prove(found, loaded)
    with pytest.raises(PackageError, match="self-test"):
        selftest.prove(found, replace(loaded, preprocess=replace(preprocess, resize=40)))
    with torch.no_grad():
        loaded.model.head.weight[0, 0] = float("nan")
    with pytest.raises(PackageError, match="self-test"):
        selftest.prove(found, loaded)


def test_the_selftests_images_are_odd_and_the_same_each_time(full: Path) -> None:
    found = package.read(full)
    test = safetensors.torch.load_file(full / package.SELFTEST)
    shapes = [tuple(t.shape) for name, t in sorted(test.items()) if name.startswith("image")]
    assert all(h % 2 and w % 2 for h, w, _ in shapes)
    assert min(shapes[0][:2]) > 36  # the resize: antialiasing shows
    again = selftest.make(filled(found))
    assert all(torch.equal(again[name], test[name]) for name in test)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5, 4), (5, 5)])
def test_a_selftest_of_other_shapes_is_refused(full: Path, shape: tuple[int, ...]) -> None:
    images = {"image.0": torch.zeros(shape, dtype=torch.uint8), "logits": torch.zeros(1, 3)}
    safetensors.torch.save_file(images, full / package.SELFTEST)
    packages.refile(full, package.SELFTEST)
    found = package.read(full)
    with pytest.raises(PackageError, match=r"selftest\.safetensors"):
        selftest.prove(found, filled(found))


def test_only_tensors_are_packaged(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def get_extra_state(self) -> dict[str, int]:
            return {"a": 1}

    with pytest.raises(HubftError, match="only tensors"):
        tensors.save(tmp_path / "x", Odd().state_dict())
