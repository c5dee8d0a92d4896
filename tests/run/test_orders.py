"""Data that has a package's classes in another order: a class is known by its name, wherever it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import noise

import hubft
from hubft.deploy.export import samples
from hubft.job import Job, Labels
from hubft.publish.manifest import Manifest
from hubft.run import data as run_data
from hubft.run import resuming
from hubft.run.folder import Run
from hubft.share import load

COLOURS, SIZES = ("red", "green", "blue"), ("small", "large")
QUICK: dict[str, Any] = {"device": "cpu", "workers": 0, "quiet": True, "probe": False, "lr": 0.02}


def write(path: Path, colours: Sequence[str], sizes: Sequence[str]) -> Path:
    """Write 36 pictures whose classes stand in that order: the same pictures with the same names, whatever it is."""
    images = [BytesIO() for _ in range(36)]
    for seed, file in enumerate(images):
        noise(seed, 40, 40).save(file, format="PNG")
    rows = {
        "image": [file.getvalue() for file in images],
        "colour": [colours.index(COLOURS[seed % 3]) for seed in range(36)],
        "size": [sizes.index(SIZES[seed // 3 % 2]) for seed in range(36)],
        "split": ["val" if seed % 4 == 0 else "train" for seed in range(36)],
    }
    features = {
        name: {"names": list(its), "_type": "ClassLabel"} for name, its in (("colour", colours), ("size", sizes))
    }
    text = json.dumps({"info": {"features": {**features, "image": {"_type": "Image"}}}})
    pq.write_table(pa.table(rows).replace_schema_metadata({"huggingface": text}), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders")
    write(folder / "first.parquet", COLOURS, SIZES)
    write(folder / "other.parquet", sorted(COLOURS), SIZES[::-1])
    return folder


TARGETS = {"one": ("colour",), "several": ("colour", "size")}


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return TARGETS[request.param]


@pytest.fixture(scope="module")
def package(folder: Path, target: tuple[str, ...]) -> Path:
    output = folder / f"run{len(target)}"
    made = hubft.finetune("toy:small", folder / "first.parquet", target=target, epochs=3, output=output, **QUICK)
    return made.package


def told(manifest: Manifest, data: Path) -> list[tuple[str, str]]:
    """Return the bytes and the label, by name, of each sample that an export of the package is judged by."""
    found = samples.read(manifest, str(data), False, 1.0).data
    assert found.task.names == manifest.task.names
    return [(one.sha256, manifest.task.mark(one.target)) for one in found.val]


def test_exports_and_benchmarks_judge_by_the_same_samples(folder: Path, package: Path) -> None:
    opened = load.opened(load.package(package))
    judged = [told(opened.manifest, folder / name) for name in ("first.parquet", "other.parquet")]
    assert judged[0] == judged[1] and len(judged[0]) == 9 and len({label for _, label in judged[0]}) > 2
    found = samples.read(opened.manifest, str(folder / "other.parquet"), False, 1.0)
    measured = opened.manifest.task.measure(*found.told(opened))
    assert measured.plain() == hubft.evaluate(package, folder / "other.parquet").metrics.plain()


def test_a_student_has_its_teachers_order(folder: Path, package: Path, target: tuple[str, ...], tmp_path: Path) -> None:
    data, names = folder / "other.parquet", load.package(package).manifest.task.names
    options = {**QUICK, "target": target, "epochs": 1, "keep_anyway": True, "output": tmp_path / "run"}
    made = hubft.distill(package, "toy:small", data, **options)
    assert load.package(made.package).manifest.task.names == names
    assert made.beside and made.beside.teacher
    assert made.beside.teacher.head.value == hubft.evaluate(package, data).metrics.head.value


def test_the_head_of_a_package_goes_on(folder: Path, package: Path, target: tuple[str, ...], tmp_path: Path) -> None:
    """With a new one no epochs are refused."""
    data, options = folder / "other.parquet", {**QUICK, "epochs": 0, "target": target, "output": tmp_path / "run"}
    made = hubft.finetune(f"package:{package}", data, **options)
    assert made.metrics.head.value == pytest.approx(hubft.evaluate(package, data).metrics.head.value)
    assert load.package(made.package).manifest.task.names == load.package(package).manifest.task.names


def test_a_run_goes_on_in_the_order_that_it_began_with(folder: Path, target: tuple[str, ...], tmp_path: Path) -> None:
    """Whether its teacher is still there or not."""
    first, other = (
        run_data.read(Job("toy:small", str(folder / f"{name}.parquet"), labels=Labels(target=target)))
        for name in ("first", "other")
    )
    assert first.task.names != other.task.names and first.fingerprint() == other.fingerprint()
    job = Job("toy:small", str(folder / "other.parquet"), labels=Labels(target=target), output=str(tmp_path))
    run = Run.create(job, first.facts())
    assert resuming.data(run, run.job()).task == first.task


def test_other_names_are_refused(folder: Path, package: Path, target: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", COLOURS, SIZES)
    table = pq.read_table(path)
    text = table.schema.metadata[b"huggingface"].replace(b'"red"', b'"rot"')
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), path)
    with pytest.raises(hubft.HubftError, match="they must be the same"):
        samples.read(load.package(package).manifest, str(path), False, 1.0)
    with pytest.raises(hubft.HubftError, match=r"the teacher .* does not know the \w+ '(colour: )?rot'"):
        hubft.distill(package, "toy:small", path, target=target, epochs=1, output=tmp_path / "run", **QUICK)
