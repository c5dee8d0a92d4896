"""LiteRT: written, proved and run by an environment that the user names, and one line for what that cannot do."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import packages
import pictures
import pytest
import torch
from commands import Hubft
from safetensors.numpy import load_file

import hubft as module
from hubft.base.errors import ExportError
from hubft.deploy.export import export, formats, opening, running
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.export import SELFTEST

VARIABLE = "HUBFT_LITERT_PYTHON"
real = pytest.mark.skipif(
    not os.environ.get(VARIABLE) and not importlib.util.find_spec("litert_torch"),
    reason=f"no environment with litert-torch is named by {VARIABLE}",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "flowers"
    packages.write(folder, packages.toy_job())
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data"), packages.CLASSES, 8, 6)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This environment has none of the libraries, and none is named."""
    monkeypatch.delenv(VARIABLE, raising=False)
    found = importlib.util.find_spec
    gone = ("litert_torch", "ai_edge_litert", "ai_edge_quantizer")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else found(name, *more))


def python(folder: Path, body: str) -> str:
    """Return a program that stands for the Python of an environment, which answers as `body` says."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport sys, json\nwords = sys.argv[1:]\n{body}\n")
    path.chmod(0o755)
    return str(path)


# ---- with the libraries -----------------------------------------------------------------------------------


@real
@pytest.mark.timeout(900)
def test_a_file_answers_as_its_package_and_refuses_other_sizes(
    hubft: Hubft, package: Path, images: Path, tmp_path: Path
) -> None:
    made = export.export(package, Asked("litert", output=str(tmp_path / "a.tflite")))
    assert made.proof.exact is not None and made.proof.exact < 1e-5 and made.about.batch == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tflite", f"a.tflite{SELFTEST}"]
    files = sorted((images / "val").glob("*/*"))
    for one, other in zip(module.predict(made.path, files), module.predict(package, files), strict=True):
        assert one.said["probabilities"] == pytest.approx(other.said["probabilities"], abs=1e-4)
    assert opening.opened(made.path).manifest.task.names == packages.CLASSES
    kept = load_file(str(made.path) + SELFTEST)
    run = running.here(formats.named("litert"), made.path)
    assert run(kept["inputs"][:1])[0] == pytest.approx(kept["outputs"][:1], abs=1e-4)
    for wrong in ((2, 3, 32, 32), (1, 3, 16, 32), (1, 3, 64, 64)):
        with pytest.raises(ExportError, match=r"it takes images \[1, 3, 32, 32\] in float32, not "):
            run(numpy.zeros(wrong, numpy.float32))
    ran = hubft("evaluate", "a.tflite", images)
    assert ran.code == 0, ran.err
    data = made.path.read_bytes()
    assert not [root for root in (str(Path(module.__file__).parents[1]), sys.prefix) if root.encode() in data]


@real
@pytest.mark.timeout(900)
def test_pixels_in_and_probabilities_out(package: Path, tmp_path: Path) -> None:
    made = export.export(package, Asked("litert", output=str(tmp_path / "a.tflite"), with_preprocess=True))
    kept = load_file(str(made.path) + SELFTEST)
    probabilities, outputs = running.here(formats.named("litert"), made.path)(kept["inputs"][:1])
    assert kept["inputs"].dtype == "uint8" and outputs == pytest.approx(kept["outputs"][:1], abs=1e-4)
    assert probabilities == pytest.approx(torch.tensor(outputs).softmax(1).numpy(), abs=1e-5)


@real
@pytest.mark.timeout(900)
def test_int8_is_smaller_and_judged_by_the_score(hubft: Hubft, package: Path, images: Path, tmp_path: Path) -> None:
    ran = hubft("export", package, "--format", "litert", "--precision", "int8", "--data", images, "--max-drop", "90")
    assert ran.code == 0, ran.err
    assert "18 validation images, agreement " in ran.out and "int8, dynamic, batches of 1" in ran.out
    whole = export.export(package, Asked("litert", output=str(tmp_path / "whole.tflite")))
    sizes = []
    for path in (tmp_path / "flowers.int8.tflite", whole.path):
        sizes.append(path.stat().st_size - sum(map(len, running.metadata(formats.named("litert"), path).values())))
    assert sizes[0] < 0.7 * sizes[1]


# ---- everywhere ------------------------------------------------------------------------------------------


def test_where_no_environment_is_named_it_says_how_to_make_one(
    nowhere: None, hubft: Hubft, package: Path, images: Path, tmp_path: Path
) -> None:
    ran = hubft("export", package, "--format", "litert")
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "to export to litert needs litert_torch, ai_edge_litert, which is not installed: " in ran.err
    assert f"{VARIABLE}=litert/bin/python" in ran.err and not list(tmp_path.iterdir())
    (tmp_path / "a.tflite").write_bytes(b"")
    ran = hubft("predict", "a.tflite", images)
    assert ran.code == 2 and "to run a.tflite needs ai_edge_litert, which is not installed: " in ran.err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(3)", "is no Python of an environment (it does not answer as one): make it one of its own"),
        ("print('hello')", "is no Python of an environment (it does not answer as one)"),
        ("print(json.dumps(words[3:]))", "needs litert_torch, ai_edge_litert, which is not installed: "),
    ],
)
def test_an_environment_that_has_not_got_it_is_told_in_one_line(
    body: str, said: str, hubft: Hubft, package: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    named = python(tmp_path_factory.mktemp("environment"), body)
    ran = hubft("export", package, "--format", "litert", "--python", named)
    assert ran.code == 2 and ran.err.count("\n") == 1 and said in ran.err and named in ran.err
    assert not list(tmp_path.iterdir())


def test_an_interpreter_that_is_not_there(hubft: Hubft, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere/bin/python")
    ran = hubft("export", package, "--format", "litert")
    assert ran.code == 2
    assert "'nowhere/bin/python' is no Python of an environment (No such file or directory)" in ran.err
    ran = hubft("export", package, "--format", "onnx", "--python", "python")
    assert ran.code == 2 and "--python is for litert: the libraries of onnx lie beside torch" in ran.err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('{}' if '-c' in words else json.dumps('ValueError: no aten.foo.default'))",
         "the operation aten.foo.default cannot be written; RuntimeError: ValueError: no aten.foo.default"),
        ("print('{}') if '-c' in words else sys.exit('out of memory')",
         "RuntimeError: the process that converted it ended with code 1. out of memory"),
    ],
)  # fmt: skip
def test_a_conversion_that_fails_leaves_nothing_behind(
    body: str, said: str, hubft: Hubft, package: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    named = python(tmp_path_factory.mktemp("environment"), body)
    ran = hubft("export", package, "--format", "litert", "--python", named)
    assert ran.code == 2 and ran.err.count("\n") == 1 and said in ran.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 60, b"x" * 99])
def test_what_is_no_model_is_told_in_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(data)
    with pytest.raises(ExportError, match=r"^a.tflite"):
        opening.stated(formats.named("litert"), tmp_path / "a.tflite")


def test_what_runs_beside_this_process_ends_with_it(package: Path, tmp_path: Path) -> None:
    """By a format whose libraries are torch alone, as if these lay in another environment."""
    made = export.export(package, Asked("pt2", output=str(tmp_path / "a.pt2")))
    code = f"""
import gc, os, sys
from pathlib import Path
from hubft.deploy.export import formats, running
form = formats.named("pt2")
type(form).python = property(lambda self: os.path.join(os.path.dirname(sys.executable), ".", "python3"))
run = running.here(form, Path({str(made.path)!r}))
import numpy
print(run(numpy.zeros((1, 3, 32, 32), numpy.float32))[0].shape, type(run).__name__)
first = run.process
del run
gc.collect()
print(first.poll() is not None)
print(running.here(form, Path({str(made.path)!r})).process.pid)
kept = running.here(form, Path({str(made.path)!r}))
print(kept.process.pid)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shape, ended, *numbers = ran.stdout.splitlines()
    assert (shape, ended) == ("(1, 3) Fresh", "True")
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(int(number), 0)


def test_a_format_of_this_environment_has_its_python() -> None:
    found: dict[str, Any] = {name: formats.named(name) for name in formats.FORMATS}
    assert {name for name, form in found.items() if form.variable} == {"litert"}
    assert all(form.python == sys.executable for form in found.values() if not form.variable)
    assert found["litert"].by("there").python == "there"
