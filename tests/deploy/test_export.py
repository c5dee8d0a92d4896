"""Files of other runtimes: they say what their package says, and what is not as good is not left behind."""

import errno
import json
import os
import shutil
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
from extras import needs
from safetensors.numpy import load_file

import hubft as module
from hubft.base.errors import ExportError, JobError, WriteError
from hubft.deploy.export import export, exportable, formats, opening, program, running
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.export import SELFTEST
from hubft.job import Job
from hubft.share import load

onnx = needs("onnx", "onnx")
onnxruntime = needs("onnxruntime", "onnx")
needs("onnxscript", "onnx")

GOLDEN = Path(__file__).parents[1] / "golden" / "schema2"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "flowers" / "package"
    packages.write(folder, packages.toy_job())
    return folder


@pytest.fixture(scope="module")
def file(package: Path) -> Path:
    """The package as ONNX."""
    return export.export(package, Asked("onnx", output=str(package.parents[1] / "flowers.onnx"))).path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data"), packages.CLASSES, 4, 5)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- a file is as its package ------------------------------------------------------------------------


def test_from_the_command_to_an_answer(hubft: Hubft, package: Path, images: Path, tmp_path: Path) -> None:
    ran = hubft("export", package.parent, "--format", "onnx")
    assert (ran.code, ran.err) == (0, "")
    assert "proved   self-test differs by " in ran.out and "flowers.onnx: 0.0" in ran.out
    assert "batches of any size" in ran.out
    assert left(tmp_path) == ["flowers.onnx", f"flowers.onnx{SELFTEST}"]
    of_file, of_package = (hubft("predict", what, images / "val", "--json") for what in ("flowers.onnx", package))
    assert of_file.code == 0 and len(of_file.out.splitlines()) == 15
    for ours, theirs in zip(of_file.out.splitlines(), of_package.out.splitlines(), strict=True):
        ours, theirs = json.loads(ours), json.loads(theirs)
        assert ours["class"] == theirs["class"] and ours["image"] == theirs["image"]
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)
    measured = [json.loads(hubft("evaluate", w, images, "--json").out) for w in ("flowers.onnx", package)]
    assert measured[0]["accuracy"] == measured[1]["accuracy"] and measured[0]["loss"] != 0


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "several"])
def test_every_kind_of_task_answers_from_a_file(kind: str, images: Path, tmp_path: Path) -> None:
    made = export.export(GOLDEN / kind, Asked("onnx", output=str(tmp_path / "a.onnx")))
    asked = sorted((images / "val").glob("*/*"))[:4]
    ours, theirs = module.predict(made.path, asked), module.predict(GOLDEN / kind, asked)
    for one, other in zip(ours, theirs, strict=True):
        same(one.said, other.said)


def same(ours: Any, theirs: Any) -> None:
    """Check that two answers are the same but for what rounding does to numbers."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name in ours:
            same(ours[name], theirs[name])
    else:
        assert ours == (pytest.approx(theirs, rel=1e-4, abs=1e-5) if isinstance(theirs, float) else theirs)


def test_it_runs_with_its_runtime_and_numpy_alone(file: Path) -> None:
    """The vectors beside it need no hubft either; what it is stands in it as JSON."""
    code = f"""
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(file)!r})
texts = session.get_modelmeta().custom_metadata_map
data = open({str(file) + SELFTEST!r}, "rb").read()
length = int.from_bytes(data[:8], "little")
header = json.loads(data[8 : 8 + length])
def tensor(name):
    first, last = header[name]["data_offsets"]
    return numpy.frombuffer(data[8 + length + first : 8 + length + last], numpy.float32).reshape(header[name]["shape"])
found = session.run(["outputs"], {{"images": tensor("inputs")}})[0]
assert found.shape == (3, 3) and abs(found - tensor("outputs")).max() < 1e-4
assert header["image.0"]["dtype"] == "U8"
print(json.loads(texts["classes"]), json.loads(texts["task"])["kind"], json.loads(texts["preprocess"])["size"])
assert not [name for name in sys.modules if name.startswith(("hubft", "torch"))]
"""
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "['ant', 'bee', 'cat'] classification [32, 32]\n"


@pytest.mark.parametrize("shape", [(2, 3, 16, 32), (2, 3, 64, 64), (2, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_size_are_an_error_in_any_runtime(file: Path, shape: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"nvalid (dimensions|rank)"):
        session.run(None, {"images": numpy.zeros(shape, numpy.float32)})
    with pytest.raises(ExportError, match=r"it takes images \[batch, 3, 32, 32\], not "):
        opening.opened(file).loaded.model(torch.zeros(shape))


def test_a_file_is_complete_and_checked_by_onnx(file: Path, package: Path) -> None:
    onnx.checker.check_model(str(file), full_check=True)
    opened, read = opening.opened(file), load.package(package)
    assert opened.manifest == read.manifest
    stated = {name: tuple(its.shape) for name, its in load_file(str(file) + SELFTEST).items()}
    assert stated["inputs"] == (3, 3, 32, 32) and stated["outputs"] == (3, 3)
    assert left(file.parent) == ["flowers", "flowers.onnx", f"flowers.onnx{SELFTEST}"]
    assert len({path.stat().st_mode for path in file.parent.glob("flowers.onnx*")}) == 1


def test_a_file_names_no_folder_of_the_machine_that_wrote_it(file: Path) -> None:
    data = file.read_bytes()
    assert not [root for root in (str(Path(module.__file__).parents[1]), sys.prefix) if root.encode() in data]


# ---- what is not as good is not left behind ----------------------------------------------------------


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the writer put something else in the file than it was given."""

    def spoil(change: Any) -> None:
        form = formats.named("onnx")
        real = type(form).write

        def write(self: Any, it: Any, path: Path, way: str, samples: Any) -> None:
            real(self, it, path, way, samples)
            model = onnx.load(path)
            change(model)
            onnx.save(model, path)

        monkeypatch.setattr(type(form), "write", write)

    return spoil


def other_weights(model: Any) -> None:
    bias = next(one for one in model.graph.initializer if one.name.endswith("head.bias"))
    bias.raw_data = (numpy.frombuffer(bias.raw_data, numpy.float32) + 0.5).tobytes()


def not_a_number(model: Any) -> None:
    bias = next(one for one in model.graph.initializer if one.name.endswith("head.bias"))
    bias.raw_data = numpy.full(3, numpy.nan, numpy.float32).tobytes()


def any_size(model: Any) -> None:
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.ClearField("dim_value")
        side.dim_param = "side"
    del model.graph.value_info[:]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_weights, r"differ by 0\.0\d+ of the largest, where 0\.001 is allowed"),
        (not_a_number, r"differ by nan of the largest"),
        (any_size, r"images of another size, \[2, 3, 32, 16\], is answered with \[\(2, 3\)\], not refused"),
        (lambda model: model.metadata_props.pop(), "its metadata lacks \\w+"),
    ],
)
def test_a_file_that_fails_its_proof_is_not_left(
    change: Any, why: str, package: Path, tmp_path: Path, spoiled: Any
) -> None:
    spoiled(change)
    with pytest.raises(ExportError, match=f"a.onnx was not written.*({why})"):
        export.export(package, Asked("onnx", output=str(tmp_path / "a.onnx")))
    assert left(tmp_path) == []


def test_a_runner_that_needs_hubft_is_no_proof(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = tmp_path / "runner.py"
    root = Path(module.__file__).parents[1]
    own = formats.named("onnx").runner.read_text()
    own = own.replace(
        "import numpy\n", f"import sys; sys.path.append({str(root)!r}); import numpy, hubft.base.keys\n", 1
    )
    runner.write_text(own)
    monkeypatch.setattr(type(formats.named("onnx")), "runner", runner)
    form, file = formats.named("onnx"), written(package, tmp_path)
    with pytest.raises(ExportError, match="its runner imported hubft"), running.fresh(form, file, 1, True):
        pass


def written(package: Path, folder: Path) -> Path:
    """Return a file that was written and not proved."""
    form = formats.named("onnx")
    it = exportable.of(load.opened(load.package(package)))
    form.write(it, folder / "b.onnx", "fp32", None)
    return folder / "b.onnx"


def test_a_model_that_cannot_be_exported_names_the_operation(
    hubft: Hubft, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hubft_toy

    def forward(self: Any, images: torch.Tensor) -> torch.Tensor:
        turned = torch.linalg.qr(images.mean(1)).R[:, :3, :3].sum(1)
        return self.head(self.block(self.stem(images)).mean((2, 3))) + 0 * turned

    monkeypatch.setattr(hubft_toy.Small, "forward", forward)
    ran = hubft("export", package, "--format", "onnx", "--output", "a.onnx")
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "the operation aten.linalg_qr" in ran.err and "Traceback" not in ran.err
    assert left(tmp_path) == []


def test_a_full_disk_is_one_line(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    monkeypatch.setattr(export, "save_file", full)
    with pytest.raises(WriteError, match=r"a\.onnx' cannot be written: No space left.*nothing was written; make room"):
        export.export(package, Asked("onnx", output=str(tmp_path / "a.onnx")))
    assert left(tmp_path) == []


def test_what_a_killed_export_left_is_swept(package: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="the system has no such locks")
    (tmp_path / ".writing-a.onnx-abc").mkdir()
    (tmp_path / ".writing-a.onnx-abc" / "a.onnx").write_bytes(b"half")
    os.utime(tmp_path / ".writing-a.onnx-abc", (0, 0))
    export.export(package, Asked("onnx", output=str(tmp_path / "a.onnx")))
    assert left(tmp_path) == ["a.onnx", f"a.onnx{SELFTEST}"]


def test_the_words_of_a_library_for_a_full_disk_are_known() -> None:
    with pytest.raises(OSError, match="No space left on device"), program.border("x"):
        raise RuntimeError("ld: final link failed: No space left on device")


def test_a_process_that_dies_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runner.py").write_text("import os\n\ndef load(*_):\n    return lambda batch: os.abort()\n")
    monkeypatch.setattr(type(formats.named("onnx")), "runner", tmp_path / "runner.py")
    told = pytest.raises(ExportError, match=r"the process that ran it ended with code -6")
    with running.fresh(formats.named("onnx"), file, 1, True) as run, told:
        run(numpy.zeros(1))


# ---- what is in the way ------------------------------------------------------------------------------


def test_an_export_is_replaced_and_whoever_reads_the_old_one_keeps_it(
    package: Path, file: Path, tmp_path: Path
) -> None:
    for name in (file.name, file.name + SELFTEST):
        shutil.copyfile(file.parent / name, tmp_path / name)
    old, before = (tmp_path / file.name).open("rb"), file.read_bytes()
    with old:
        export.export(package, Asked("onnx", output=str(tmp_path / file.name)))
        assert old.read() == before and os.fstat(old.fileno()).st_ino != (tmp_path / file.name).stat().st_ino
    assert len(left(tmp_path)) == 2


@pytest.mark.parametrize("what", ["text", "foreign", "folder"])
def test_what_is_no_export_is_not_replaced(what: str, package: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    if what == "folder":
        path.mkdir()
    else:
        path.write_text("mine")
    with pytest.raises(JobError, match=r"exists and is no export of hubft: nothing was written; name another "):
        export.export(package, Asked("onnx", output=str(path)))
    assert path.is_dir() or path.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "onx"], "--format 'onx': known formats are onnx, "),
        (["--format", "onnx", "--output", "a.pb"], "--output 'a.pb': a file of onnx is named *.onnx"),
        (["--format", "onnx", "--output", "gone/a.onnx"], "there is no folder 'gone'"),
        (["--format", "onnx", "--max-drop", "-1"], "--max-drop -1.0: must be points of the score, 0 or more"),
        (["--format", "onnx", "--max-drop", "nan"], "--max-drop nan: must be points of the score, 0 or more"),
        (["--format", "onnx", "--precision", "bf16"], "--precision 'bf16': onnx is written in fp32, int8"),
        (["--format", "onnx", "--data", "gone"], "'gone' is no folder; DATA holds"),
    ],
)
def test_bad_input_is_one_line(hubft: Hubft, package: Path, tmp_path: Path, words: list[str], said: str) -> None:
    ran = hubft("export", package, *words)
    assert (ran.code, ran.out) == (2, "") and ran.err.count("\n") == 1 and said in ran.err, ran.err
    assert left(tmp_path) == []


def test_a_missing_extra_is_a_line_that_names_it(
    hubft: Hubft, package: Path, file: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = formats.importlib.util.find_spec
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    for words in (["export", package, "--format", "onnx"], ["predict", file, images / "val"]):
        ran = hubft(*words)
        assert ran.code == 2 and "needs onnxruntime, which is not installed: pip install 'hubft[onnx]'" in ran.err


def test_a_file_that_is_none_is_told(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model")
    (tmp_path / "a.txt").write_bytes(b"no model")
    for name, said in (("a.onnx", "a.onnx: "), ("a.txt", "is neither a package nor an exported file; their suffixes")):
        for command in ("predict", "evaluate"):
            ran = hubft(command, name, images)
            assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1


def test_a_file_of_others_states_nothing(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(ExportError, match=r"theirs\.onnx was not written by hubft: it has no 'hubft' in its metadata"):
        opening.opened(tmp_path / "theirs.onnx")


def test_a_manifest_that_was_altered_is_refused(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    entry = next(one for one in model.metadata_props if one.key == "hubft")
    entry.value = entry.value.replace('"bee"', '"bug"')
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ExportError, match="was altered: its seal is not that of its text"):
        opening.opened(tmp_path / "a.onnx")


# ---- judged by images --------------------------------------------------------------------------------


def test_data_judges_a_file_by_its_score(hubft: Hubft, package: Path, images: Path) -> None:
    ran = hubft("export", package, "--format", "onnx", "--data", images)
    assert ran.code == 0 and "agreement 1.0000" in ran.out and "accuracy 0." in ran.out


def test_other_classes_are_one_line(hubft: Hubft, package: Path, tmp_path: Path) -> None:
    data = pictures.folder(tmp_path / "data", ("ant", "bee", "dog"), 2, 1)
    ran = hubft("export", package, "--format", "onnx", "--data", data, "--output", "a.onnx")
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "has the class names 'ant', 'bee', 'dog', and the package 'ant', 'bee', 'cat'" in ran.err
    assert left(tmp_path) == ["data"]


def test_the_border_passes_our_own_errors_on() -> None:
    with pytest.raises(JobError, match="mine"), program.border("x"):
        raise JobError("mine")
    with pytest.raises(ExportError, match=r"^x: RuntimeError: theirs$"), program.border("x"):
        raise RuntimeError("theirs")


def test_the_job_of_a_file_is_that_of_its_package(file: Path) -> None:
    assert isinstance(opening.opened(file).manifest.job, Job)
