"""`hubft benchmark`: each candidate is a file that can be shipped, measured beside the package on the user's images."""

import json
from pathlib import Path

import numpy
import packages
import pictures
import pytest
from commands import Hubft
from extras import needs
from PIL import Image

from hubft import engine
from hubft.deploy import benchmark
from hubft.deploy.benchmark import PICTURE, TABLE, Asked
from hubft.deploy.export import samples
from hubft.run.folder import Run
from hubft.share import inference, load

onnx = needs("onnx", "onnx")
needs("onnxruntime", "onnx")

GOLDEN = Path(__file__).parents[1] / "golden" / "schema2"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    packages.write(tmp_path / "run" / "package", packages.toy_job())
    return tmp_path / "run" / "package"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return pictures.folder(tmp_path / "data", packages.CLASSES, 4, 5)


def test_from_the_command_to_the_table(hubft: Hubft, package: Path, images: Path) -> None:
    ran = hubft("benchmark", package.parent, images, "--against", "onnx", "--seconds", "0.1", "--threads", "1")
    assert (ran.code, ran.err) == (0, "")
    assert "on 15 validation images" in ran.out and "onnx: " in ran.out
    folder = package.parent / "benchmark"
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG")
    found = json.loads((folder / TABLE).read_text())
    first, onnx_file = found["rows"]
    measured = inference.evaluate(load.opened(load.package(package)), images).metrics.head
    assert first["score"]["value"] == onnx_file["score"]["value"] == measured.value
    assert onnx_file["difference"]["value"] == 0.0 and onnx_file["agreement"] == 1.0
    assert onnx_file["size"] == (folder / "onnx.onnx").stat().st_size and first["size"] > 0
    assert first["memory"] > onnx_file["memory"] > 10**7
    assert set(first["latency"]) == {"1", "32"} and first["latency"]["1"]["ratio"] == 1.0
    assert found["threads"] == 1 and found["samples"] == 15
    assert not (package.parent / "report").exists(), "it lies in no run"


def test_the_report_of_a_run_has_table_and_picture_of_the_last_benchmark(
    hubft: Hubft, package: Path, images: Path, tmp_path: Path
) -> None:
    run = Run(package.parent)
    run.write_job(packages.toy_job())
    for against in (("onnx",), ("int8", "onnx")):
        words = ["--against", ",".join(against), "--seconds", "0.1", "--output", "made"]
        ran = hubft("benchmark", package, images, *words)
        assert ran.code == 0 and f"picture  {run.report / PICTURE}" in ran.out
        for name in (TABLE, PICTURE):
            assert (run.report / name).read_bytes() == (tmp_path / "made" / name).read_bytes()
        assert ("compress int8: accuracy" in ran.out) == ("int8" in against)
        rows = json.loads((run.report / TABLE).read_text())["rows"]
        assert [row["name"] for row in rows] == ["as it is", *against]
    assert sorted(path.name for path in run.report.iterdir()) == [TABLE, PICTURE]


def test_a_candidate_that_cannot_be_made_has_its_reason_and_the_others_their_figures(
    package: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubft.deploy.export.proof.TOLERANCE", -1.0)
    found = benchmark.compare(str(package), str(images), Asked(("onnx",), seconds=0.1))
    first, failed = found.rows
    assert first.latency and first.score is not None
    assert "differ by" in failed.failure and failed.path == "" and failed.verdicts == (failed.failure,)
    assert not (found.folder / "onnx.onnx").exists()


def test_a_package_is_compressed_once_for_all_that_goes_on_from_it(
    package: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = engine.compress
    monkeypatch.setattr(engine, "compress", lambda *its, **named: made.append(its[2]) or real(*its, **named))
    found = benchmark.compare(str(package), str(images), Asked(("int8+onnx", "int8"), seconds=0.1))
    assert made == ["int8"]
    assert [row.failure[:30] for row in found.rows[1:]] == [""] * 2


def test_the_images_are_read_and_the_package_asked_once_for_all_exports(
    package: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = samples.read
    monkeypatch.setattr(samples, "read", lambda *its: read.append(its[1]) or real(*its))
    found = benchmark.compare(str(package), str(images), Asked(("onnx", "onnx:int8"), max_drop=100, seconds=0.1))
    assert [row.failure for row in found.rows] == [""] * 3
    assert read == [str(images)] * 2  # for the table, and for the exports


def test_files_are_compared_with_files_and_packages(hubft: Hubft, package: Path, images: Path, tmp_path: Path) -> None:
    for name, words in {"a.onnx": (), "b.onnx": ("--with-preprocess",)}.items():
        assert hubft("export", package, "--format", "onnx", "--output", name, *words).code == 0
    words = ("--seconds", "0.1", "--output", "made")
    ran = hubft("benchmark", "a.onnx", images, "--against", f"b.onnx,{package}", *words)
    assert (ran.code, ran.err) == (0, "")
    rows = json.loads((tmp_path / "made" / TABLE).read_text())["rows"]
    assert [row["name"] for row in rows] == ["as it is", "b.onnx", str(package)]
    assert [row["agreement"] for row in rows[1:]] == [1.0, 1.0] and rows[0]["score"] == rows[2]["score"]
    assert rows[0]["size"] == (tmp_path / "a.onnx").stat().st_size < rows[0]["memory"] < rows[2]["memory"]
    for against, said in (
        ("", "of an exported file nothing is made"),
        ("b.onnx,int8", "'int8': of an exported file nothing is made"),
        ("c.onnx", "'c.onnx': known are "),
        (str(GOLDEN / "regression"), "a model of the kind regression"),
        (str(images), "is no package"),
    ):
        ran = hubft("benchmark", "a.onnx", images, "--against", against, "--output", "other")
        assert (ran.code, len(ran.err.splitlines())) == (2, 1) and said in ran.err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kind", ["multilabel", "regression", "several"])
def test_every_kind_of_task_is_compared_by_its_headline(kind: str, tmp_path: Path) -> None:
    random, lines = numpy.random.default_rng(0), ["photo,kind,price,tags"]
    for i in range(40):
        Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=numpy.uint8)).save(tmp_path / f"{i}.png")
        tags = ";".join(["blue", "dark", "green", "red"][i % 4 : i % 4 + 2])
        lines.append(f"{i}.png,{('daisy', 'rose', 'tulip')[i % 3]},{50.5 + 3 * i},{tags}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    asked = Asked(("onnx",), seconds=0.1, output=str(tmp_path / "made"))
    first, other = benchmark.compare(str(GOLDEN / kind), str(tmp_path / "table.csv"), asked).rows
    assert first.score is not None and other.difference is not None and not other.failure
    assert (other.difference.value, other.agreement) == pytest.approx((0, 1), abs=1e-4)
    facts = json.loads((tmp_path / "made" / TABLE).read_text())
    assert facts["headline"] == load.package(GOLDEN / kind).manifest.task.headline


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--against", "onxx"), "known"),
        (("--against", "onnx:fp8"), "onnx is written in"),
        (("--against", "onnx,onnx"), "stands twice"),
        (("--seconds", "0"), "more than 0"),
        (("--max-drop", "-1"), "0 or more"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    words: tuple[str, ...], said: str, hubft: Hubft, package: Path, images: Path
) -> None:
    ran = hubft("benchmark", package.parent, images, *words)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert said in ran.err
    assert not (package.parent / "benchmark").exists()


def test_a_folder_that_holds_something_else_is_left_alone(hubft: Hubft, package: Path, images: Path) -> None:
    (package.parent / "mine").mkdir()
    (package.parent / "mine" / "note.txt").write_text("keep")
    ran = hubft("benchmark", package.parent, images, "--against", "onnx", "--output", package.parent / "mine")
    assert ran.code == 2 and "holds something else" in ran.err
    assert [path.name for path in (package.parent / "mine").iterdir()] == ["note.txt"]
    ran = hubft("benchmark", package.parent, images, "--output", package.parent / "mine" / "note.txt")
    assert ran.code == 2 and ran.err.count("\n") == 1 and "note.txt' holds something else" in ran.err


def test_a_file_is_no_package_to_start_from(hubft: Hubft, images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    ran = hubft("export", "a.onnx", "--format", "onnx")
    assert ran.code == 2 and ran.err == (
        "hubft: 'a.onnx' is a file: name the package that it was made from, or the folder of a run\n"
    )
    ran = hubft("benchmark", "a.onnx", images, "--against", "a.onnx", "--output", "made")
    assert ran.code == 2 and ran.err.startswith("hubft: a.onnx: ") and ran.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "data"]
