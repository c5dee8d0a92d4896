"""Every format that can be written here: the same checks of each, and what each has of its own."""

import gc
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import packages
import pictures
import pytest
import torch
from commands import Hubft
from extras import NOT_INSTALLED, needs
from safetensors.numpy import load_file
from torch import Tensor

import hubft as module
from hubft import Head, Job
from hubft.base.errors import ExportError, Unconvertible, WriteError
from hubft.deploy.export import export, exportable, formats, opening, proof, running
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.export import SELFTEST
from hubft.share import load
from hubft.tasks import kinds

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <finalize:pytest.PytestUnraisableExceptionWarning"
)
GOLDEN = Path(__file__).parents[1] / "golden" / "schema2"


def there(name: str, *also: str) -> Any:
    """Return a parameter of a format, skipped where its libraries are not installed."""
    form = formats.named(name)
    needed = (*form.writers, *form.runtime, *also)
    missing = [one for one in needed if not formats.importlib.util.find_spec(one)]
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=NOT_INSTALLED.format(form.extra)))


FORMATS = [there("onnx"), there("openvino"), there("pt2"), there("torchscript"), there("executorch")]
COMPILED = pytest.param("aoti", marks=pytest.mark.timeout(900))


@pytest.fixture(autouse=True)
def swept(request: pytest.FixtureRequest) -> Iterator[None]:
    """coremltools leaves temporary folders to the garbage collector, which says so in whatever test runs then."""
    yield
    if "coremltools" in sys.modules and re.search("core_?ml", request.node.name):
        gc.collect()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data"), packages.CLASSES, 8, 6)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "flowers"
    packages.write(folder, packages.toy_job())
    return folder


def asked(name: str, folder: Path, **options: Any) -> Asked:
    return Asked(name, output=str(folder / f"a{formats.named(name).suffix}"), **options)


@pytest.mark.parametrize("name", [*FORMATS, COMPILED])
def test_a_file_answers_as_its_package_and_refuses_other_sizes(
    name: str, package: Path, images: Path, tmp_path: Path
) -> None:
    made = export.export(package, asked(name, tmp_path))
    form, files = formats.named(name), sorted((images / "val").glob("*/*"))
    ours, theirs = module.predict(made.path, files, trust=True), module.predict(package, files)
    for one, other in zip(ours, theirs, strict=True):
        assert one.image == other.image and one.said["class"] == other.said["class"]
        assert one.said["probabilities"] == pytest.approx(other.said["probabilities"], abs=1e-4)
    assert made.size > 5000 and len(ours) == 18
    with running.fresh(form, made.path, 1, True) as run:
        kept = load_file(str(made.path) + SELFTEST)
        [found] = run(kept["inputs"][:1])
        assert found.shape == (1, 3) and found == pytest.approx(kept["outputs"][:1], abs=1e-4)
        for wrong in (torch.zeros(1, 3, 16, 32), torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 32, 32)):
            with pytest.raises(ExportError):
                run(wrong.numpy())
        if made.about.batch:
            with pytest.raises(ExportError):
                run(kept["inputs"][:2])


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "several"])
@pytest.mark.parametrize("name", FORMATS)
def test_pixels_in_and_probabilities_out(name: str, kind: str, images: Path, tmp_path: Path) -> None:
    made = export.export(GOLDEN / kind, asked(name, tmp_path, with_preprocess=True))
    kept = load_file(str(made.path) + SELFTEST)
    assert (kept["inputs"].dtype, kept["inputs"].shape[1:]) == ("uint8", (32, 32, 3))
    task = kinds.read(json.loads(running.metadata(formats.named(name), made.path)["task"]))
    with running.fresh(formats.named(name), made.path, 1, True) as run:
        parts = [kept["inputs"][i : i + 1] for i in range(3)] if made.about.batch else [kept["inputs"]]
        probabilities, outputs = (
            torch.cat([*map(torch.from_numpy, its)]) for its in zip(*map(run, parts), strict=True)
        )
    assert torch.allclose(probabilities, task.shares(outputs), rtol=1e-4, atol=1e-4)
    files = sorted((images / "val").glob("*/*"))[:3]
    trust = formats.named(name).code
    for one, other in zip(
        module.predict(made.path, files, trust=trust), module.predict(GOLDEN / kind, files), strict=True
    ):
        for ours, theirs in zip(numbers(one.said), numbers(other.said), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
    if kind == "classification":
        assert probabilities.sum(1) == pytest.approx(torch.ones(3), abs=1e-5)


def numbers(said: Any) -> list[float]:
    if isinstance(said, dict):
        return [number for key in sorted(said) for number in numbers(said[key])]
    return [said] if isinstance(said, float) else []


SEVERAL = [there("onnx"), there("openvino", "nncf")]  # ways to int8
INT8 = [*SEVERAL, there("pt2", "torchao"), there("executorch", "torchao")]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", INT8)
def test_int8_is_smaller_and_judged_by_the_score(name: str, hubft: Hubft, images: Path, tmp_path: Path) -> None:
    result = module.finetune(
        "toy:small", images, epochs=2, device="cpu", workers=0, quiet=True, output=tmp_path / "run"
    )
    ran = hubft("export", "run", "--format", name, "--precision", "int8", "--data", images, "--max-drop", "60")
    assert ran.code == 0 and not ran.err, ran.err
    assert "18 validation images, agreement " in ran.out and "accuracy " in ran.out
    file = tmp_path / f"run.int8{formats.named(name).suffix}"
    trust = formats.named(name).code
    opened = opening.opened(file, trust)
    assert opened.loaded.model.about.precision == "int8"
    assert module.evaluate(file, images, trust=trust).metrics.head.n == 18
    whole = export.export(result.package, Asked(name, output=str(tmp_path / f"a{formats.named(name).suffix}")))
    weights = [weight(path) for path in (file, whole.path)]
    assert weights[0] < 0.6 * weights[1]


@pytest.mark.parametrize("name", SEVERAL)
def test_what_an_int8_file_answers_is_not_rounded_itself(
    name: str, package: Path, images: Path, tmp_path: Path
) -> None:
    options = {"precision": "int8", "data": str(images), "max_drop": 100.0, "with_preprocess": True}
    made = export.export(package, asked(name, tmp_path, **options))
    inputs = load_file(str(made.path) + SELFTEST)["inputs"]
    probabilities, outputs = map(torch.from_numpy, running.here(formats.named(name), made.path)(inputs))
    assert torch.allclose(probabilities, outputs.softmax(1), atol=1e-5)
    steps = outputs / (outputs.abs().amax() / 255)
    assert not torch.allclose(steps, steps.round(), atol=1e-3)


def weight(path: Path) -> int:
    """Return the bytes of a file's weights, without the texts and the graph where they lie apart."""
    if path.suffix == ".xml":
        return path.with_suffix(".bin").stat().st_size
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            parts = [one for one in archive.infolist() if re.search(r"/(weights|constants)/\w+_\d+$", one.filename)]
        return sum(one.file_size for one in parts)
    if path.suffix == ".pte":  # there is little else in it
        return path.stat().st_size
    import onnx

    return sum(len(one.raw_data) for one in onnx.load(path).graph.initializer)


@pytest.mark.parametrize("name", INT8)
def test_int8_that_loses_too_much_is_refused_with_figures(
    name: str, hubft: Hubft, package: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(formats.named(name)), "ways", lambda *_: ("int8, static", "int8"))
    drops = iter([42.0, 20.0])
    monkeypatch.setattr(proof, "lost", lambda change, before: next(drops))
    ran = hubft(
        "export",
        package,
        "--format",
        name,
        "--precision",
        "int8",
        "--data",
        images,
        "--output",
        f"a{formats.named(name).suffix}",
    )
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "a drop of 42.0 points, where --max-drop 1 is allowed; int8: " in ran.err and "a drop of 20.0" in ran.err
    assert ran.err.endswith("--precision fp32\n") and [path.name for path in tmp_path.iterdir()] == []
    assert ran.out.count("refused  int8") == 2


@pytest.mark.parametrize("name", [*SEVERAL, there("executorch", "torchao")])
def test_a_model_that_cannot_be_converted_is_not_tried_another_way(
    name: str, hubft: Hubft, package: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computes(monkeypatch, lambda images: torch.linalg.svd(images.mean(1)[:, :3, :3]).S)
    file = f"a{formats.named(name).suffix}"
    ran = hubft("export", package, "--format", name, "--precision", "int8", "--data", images, "--output", file)
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith(f"hubft: {file} was not written. toy:small cannot be exported to {name}: the operation ")
    assert "_linalg_svd" in ran.err and "--precision fp32" not in ran.err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SEVERAL)
def test_where_one_quantizer_fails_the_next_is_tried(
    name: str, hubft: Hubft, package: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = formats.named(name)
    module, ways = (
        sys.modules[type(form).__module__],
        form.ways(exportable.of(load.opened(load.package(package))), "int8"),
    )
    real = module._quantized

    def quantized(*its: Any) -> Any:
        if ways[0] in its:
            raise RuntimeError("not so")
        return real(*its)

    monkeypatch.setattr(type(form), "ways", lambda *_: ways[:2])
    monkeypatch.setattr(module, "_quantized", quantized)
    words = ["--precision", "int8", "--data", images, "--max-drop", "100"]
    ran = hubft("export", package, "--format", name, *words)
    assert ran.code == 0, ran.err
    assert f"refused  {ways[0]}: it cannot be quantized so: RuntimeError: not so" in ran.out
    assert f"MB, {ways[1]}, " in ran.out


def computes(monkeypatch: pytest.MonkeyPatch, more: Callable[[Tensor], Tensor]) -> None:
    """Have the model of the package compute something beside, of float32 `[batch, 3, 32, 32]`."""
    import hubft_toy

    real = hubft_toy.Small.forward

    def forward(self: Any, images: Tensor) -> Tensor:
        return real(self, images) + 0 * more(images).sum()

    monkeypatch.setattr(hubft_toy.Small, "forward", forward)


@pytest.mark.parametrize("name", [there("onnx"), there("openvino"), there("executorch"), there("coreml")])
@pytest.mark.parametrize("operation", ["linalg_svd", "linalg_qr"])
def test_every_format_names_the_operation_that_it_does_not_know(
    name: str, operation: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computes(monkeypatch, lambda images: getattr(torch.linalg, operation[7:])(images.mean(1)[:, :3, :3])[1])
    with pytest.raises(Unconvertible, match=rf"the operation [\w.:]*{operation}[\w.:]* cannot be written"):
        export.export(package, asked(name, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*FORMATS, there("coreml")])
def test_a_branch_that_a_value_decides_is_refused_with_its_line(
    name: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace would keep one of its sides."""

    def more(images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images

    computes(monkeypatch, more)
    with pytest.raises(
        Unconvertible, match=r"line \d+ of test_formats.py cannot be followed, `return real\(self, imag"
    ):
        export.export(package, asked(name, tmp_path))
    assert not list(tmp_path.iterdir())


def turning(self: Any, images: Tensor) -> Tensor:
    """As `forward` of the toy family's network, but that bright images are turned dark."""
    if bool(images.amax() > 100.0):
        images = -images
    features = self.block(self.stem(images)).mean((2, 3))
    return self.head(self.drop(features * self.taper))


@pytest.mark.parametrize("pixels", [False, True])
def test_torchscript_has_both_sides_of_a_branch_in_what_it_can_read(
    pixels: bool, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hubft_toy

    turns = type("Turning", (hubft_toy.Small,), {"forward": turning})  # TorchScript remembers classes that it has read
    monkeypatch.setattr(hubft_toy, "Small", turns)
    made = export.export(package, asked("torchscript", tmp_path, with_preprocess=pixels))
    model = load.load(package).eval()
    run = running.here(formats.named("torchscript"), made.path)
    if pixels:
        assert len(run(load_file(str(made.path) + SELFTEST)["inputs"])) == 2
        return
    for images in (torch.rand(2, 3, 32, 32), 200 * torch.rand(2, 3, 32, 32)):
        with torch.no_grad():
            wanted = model(images)
        assert torch.allclose(torch.from_numpy(run(images.numpy())[0]), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*FORMATS, there("coreml")])
def test_a_disk_that_is_full_inside_a_library_is_told_as_such(name: str, package: Path, tmp_path: Path) -> None:
    """A limit of the process stands for the disk."""
    resource = pytest.importorskip("resource")
    limits, wanted = resource.getrlimit(resource.RLIMIT_FSIZE), asked(name, tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(WriteError, match=f"^'{wanted.output}' cannot be written: File too large; nothing was wri"):
            export.export(package, wanted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_int8_without_images_asks_for_them(hubft: Hubft, package: Path, tmp_path: Path) -> None:
    needs("onnxruntime", "onnx")
    ran = hubft("export", package, "--format", "onnx", "--precision", "int8")
    assert ran.code == 2 and "--precision int8 needs data to calibrate on and to judge by: give --data" in ran.err
    (tmp_path / "empty" / "train").mkdir(parents=True)
    ran = hubft("export", package, "--format", "onnx", "--precision", "int8", "--data", "empty")
    assert ran.code == 2 and ran.err.count("\n") == 1 and "empty" in ran.err
    ran = hubft("export", package, "--format", "torchscript", "--precision", "int8", "--data", "empty")
    assert ran.code == 2 and "--precision 'int8': torchscript is written in fp32" in ran.err


def test_pt2_in_int8_is_read_by_pytorch_alone(package: Path, images: Path, tmp_path: Path) -> None:
    needs("torchao", "torchao")
    made = export.export(package, asked("pt2", tmp_path, precision="int8", data=str(images), max_drop=60.0))
    assert made.about.batch == 0
    code = (
        "import sys, torch; model = torch.export.load(sys.argv[1]); found = model.module()(torch.ones(3, 3, 32, 32)); "
        "print(list(found.shape), 'torchao' in sys.modules, 'quant' in str(model.graph)); "
        "print(sorted({str(one.dtype) for one in [*model.state_dict.values(), *model.constants.values()]}))"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code, made.path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    first, dtypes = ran.stdout.splitlines()
    assert first == "[3, 3] False False" and "torch.int8" in dtypes
    whole = export.export(package, Asked("pt2", output=str(tmp_path / "b.pt2")))
    inputs = torch.randn(4, 3, 32, 32)
    ours, theirs = (running.here(formats.named("pt2"), one.path)(inputs.numpy())[0] for one in (made, whole))
    assert 0 < abs(ours - theirs).max() < 0.1 * abs(theirs).max()


def test_pt2_in_int8_of_a_model_with_shared_activations_is_refused(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    """A block of torchvision's ResNet calls one ReLU twice."""
    needs("torchao", "torchao")
    asked_for = Job("torchvision:resnet18", "d", head=Head(outputs=3), size=32)
    packages.write(tmp_path / "p", asked_for, pretrained=False)
    ran = hubft("export", "p", "--format", "pt2", "--precision", "int8", "--data", images)
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "int8: it cannot be quantized so: ValueError: Input partition has more than one" in ran.err
    assert ran.err.endswith("--precision fp32\n")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("name", [there("pt2"), there("torchscript")])
def test_code_is_run_on_request_alone(name: str, hubft: Hubft, package: Path, images: Path) -> None:
    suffix = formats.named(name).suffix
    ran = hubft("export", package, "--format", name)
    assert ran.code == 0 and f"flowers{suffix} IMAGE --trust" in ran.out
    assert ("deprecated" in ran.out) == (name == "torchscript")
    for command in ("predict", "evaluate"):
        ran = hubft(command, f"flowers{suffix}", images)
        assert ran.code == 2 and "holds code, which runs when it is loaded; if you trust whoever made it" in ran.err
    assert hubft("evaluate", f"flowers{suffix}", images, "--trust").code == 0


def test_openvino_of_fp32_is_proved_as_the_machine_computes_too(package: Path, tmp_path: Path) -> None:
    openvino = needs("openvino", "openvino")
    made = export.export(package, asked("openvino", tmp_path))
    bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert made.proof.exact < 1e-5 and made.about.exact
    assert (made.proof.native > 1e-4) == bf16
    assert bool(made.notes) == (made.proof.native > 1e-3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.bin", "a.xml", f"a.xml{SELFTEST}"]


def test_a_file_of_bf16_without_images_is_judged_by_the_self_test(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("openvino", "openvino")
    made = export.export(package, asked("openvino", tmp_path, precision="bf16"))
    assert not made.about.exact and (tmp_path / "a.bin").stat().st_size < 14_000
    monkeypatch.setattr(proof, "REDUCED", 1e-9)
    (tmp_path / "b").mkdir()
    with pytest.raises(ExportError, match="where 1e-09 is allowed: give --data DATA to judge it by the score"):
        export.export(package, asked("openvino", tmp_path / "b", precision="bf16"))
    assert not list((tmp_path / "b").iterdir())


def test_tensorrt_is_handed_onnx_and_the_line_that_builds_the_engine(hubft: Hubft, package: Path, images: Path) -> None:
    needs("onnxruntime", "onnx")
    ran = hubft("export", package, "--format", "tensorrt")
    assert ran.code == 0 and "trtexec --onnx=flowers.trt.onnx --saveEngine=flowers.engine " in ran.out
    assert "--minShapes=images:1x3x32x32 --optShapes=images:8x3x32x32 --maxShapes=images:32x3x32x32" in ran.out
    assert hubft("evaluate", "flowers.trt.onnx", images).code == 0


@pytest.mark.parametrize("name", [there("coreml")])  # not imported here: it talks on stderr
def test_core_ml_is_checked_as_far_as_this_system_can(
    name: str, hubft: Hubft, package: Path, images: Path, tmp_path: Path
) -> None:
    if sys.platform == "darwin":
        pytest.skip("here it runs, as every other format does")
    for _ in range(2):  # the second replaces the first, which is a folder
        ran = hubft("export", package, "--format", name)
        assert ran.code == 0 and "it was not run, which this system cannot" in ran.out and not ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowers.mlpackage", f"flowers.mlpackage{SELFTEST}"]
    assert opening.stated(formats.named("coreml"), tmp_path / "flowers.mlpackage")[0].task.names == packages.CLASSES
    ran = hubft("predict", "flowers.mlpackage", images)
    assert ran.code == 2 and ran.err == "hubft: flowers.mlpackage runs on another system than this: it needs macOS\n"


@pytest.mark.parametrize("name", [there("coreml")])
def test_core_ml_in_int8_needs_no_images_and_is_smaller(
    name: str, hubft: Hubft, package: Path, images: Path, tmp_path: Path
) -> None:
    if sys.platform == "darwin":
        pytest.skip("here it runs, as every other format does")
    for bits in ("fp32", "int8"):
        ran = hubft("export", package, "--format", name, "--precision", bits, "--output", f"{bits}.mlpackage")
        assert ran.code == 0 and not ran.err, ran.err
    sizes = [(tmp_path / f"{bits}.mlpackage").rglob("weight.bin") for bits in ("int8", "fp32")]
    small, whole = (next(found).stat().st_size for found in sizes)
    assert small < 0.5 * whole
    manifest, about = opening.stated(formats.named("coreml"), tmp_path / "int8.mlpackage")
    assert (about.precision, manifest.task.names) == ("int8", packages.CLASSES)
    import coremltools

    spec = coremltools.models.MLModel(str(tmp_path / "int8.mlpackage"), skip_model_load=True).get_spec()
    [block] = spec.mlProgram.functions["main"].block_specializations.values()
    assert "constexpr_affine_dequantize" in {one.type for one in block.operations}
    ran = hubft("export", package, "--format", name, "--precision", "int8", "--data", images)
    assert ran.code == 2 and "coreml does not run on this system, so nothing is judged here: leave it out" in ran.err


def test_core_ml_in_int8_of_small_tensors_alone_is_refused(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coreml = needs("coremltools.optimize.coreml", "coreml")
    monkeypatch.setattr(coreml, "get_weights_metadata", lambda *_, **__: {})
    with pytest.raises(ExportError, match=r"no tensor of its weights has more than 2,048 numbers"):
        export.export(package, asked("coreml", tmp_path, precision="int8"))
    assert not list(tmp_path.iterdir())


def test_nothing_of_torch_is_needed_to_say_what_cannot_be() -> None:
    code = "import sys; from hubft.cli import main\ntry: main.main()\nexcept SystemExit: print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "export", "x", "--format", "onx"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.stdout == "False\n" and "known formats are onnx, openvino, " in ran.stderr
