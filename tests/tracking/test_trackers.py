"""One run in four trackers, stopped and gone on with: what each library finds of it by its own reader."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pictures
import pytest
from extras import needs
from runs import Heard, job, stopped

from hubft import Job, engine
from hubft.base import digest
from hubft.base.serialize import to_dict
from hubft.run import journal
from hubft.run.folder import Run
from hubft.tracking.delivery import Tracked

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
STEPS = list(range(1, 10))  # 36 pictures in batches of 16, three epochs

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, where they read

for name in (*TRACKERS, "sqlalchemy", "alembic"):
    needs(name, name if name in TRACKERS else "mlflow")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


@pytest.fixture(scope="module")
def alone() -> Iterator[pytest.MonkeyPatch]:
    """An environment that says nothing of trackers."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in os.environ:
            if variable.startswith(("WANDB_", "MLFLOW_", "TRACKIO_")):
                patch.delenv(variable)
        patch.setenv("HOME", os.devnull)  # no key of whoever runs this
        patch.setattr(journal, "PATIENCE", 240.0)  # four libraries are imported, maybe beside other tests
        yield patch


@pytest.fixture(scope="module")
def asked(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    output = tmp_path_factory.mktemp("runs") / "insects"
    return job(images, output, track=TRACKERS, recipe={"epochs": 3, "train": "all"})


@pytest.fixture(scope="module")
def said(asked: Job, alone: pytest.MonkeyPatch) -> list[str]:
    """What a run said of its trackers that was stopped in its second epoch, and gone on with."""
    console = Heard()
    stopped(asked, 4, alone)
    before = {name: known(asked, name) for name in TRACKERS}
    engine.resume(Path(asked.output), console)
    assert {name: known(asked, name) for name in TRACKERS} == before and all(before.values()), "one run in each"
    return console.lines


def known(asked: Job, name: str) -> str:
    return Tracked.read(Path(asked.output) / name).known


def history(asked: Job) -> list[dict[str, Any]]:
    return Run(Path(asked.output)).history()


def sha256(asked: Job) -> str:
    return digest.of_file(Path(asked.output) / "package" / "hubft.json")


def fields(asked: Job) -> dict[str, Any]:
    """Return some fields of the job in which nothing is left to choose, as trackers call them."""
    settled = to_dict(Run(Path(asked.output)).settled())
    recipe = {f"recipe.{name}": settled["recipe"][name] for name in ("epochs", "lr", "train", "batch_size")}
    return recipe | {"reference": settled["reference"], "compute.device": settled["compute"]["device"]}


def of_tensorboard(asked: Job) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(Path(asked.output) / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def of_mlflow(asked: Job) -> dict[str, list[tuple[int, float]]]:
    client, run = mlflow_run(asked)
    its = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((one.step, one.value) for one in values) for name, values in its.items()}


def mlflow_run(asked: Job) -> tuple[Any, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path(asked.output) / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hubft")
    [run] = client.search_runs([experiment.experiment_id])
    return client, run


def of_trackio(asked: Job) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in trackio(asked, f"SQLiteStorage.get_logs('hubft', {known(asked, 'trackio')!r})"):
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                found.setdefault(name, []).append((row["step"], value))
    return {name: sorted(values) for name, values in found.items()}


def trackio(asked: Job, call: str) -> Any:
    """Return what trackio's own storage gives; it knows one folder from the time of its import on."""
    code = f"import json; from trackio.sqlite_storage import SQLiteStorage; print(json.dumps({call}))"
    environment = os.environ | {"TRACKIO_DIR": str(Path(asked.output) / "trackio")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a file of W&B: a log of LevelDB (blocks of 32 KiB) behind seven bytes of their own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last part
            yield Record.FromString(whole)
            whole = b""


def wandb_records(asked: Job) -> list[Any]:
    files = sorted(Path(asked.output).glob(f"wandb/offline-run-*/run-{known(asked, 'wandb')}.wandb"))
    assert len(files) == 2, "what was said before the stop, and after it"
    return [record for file in files for record in records(file)]


def of_wandb(asked: Job) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in wandb_records(asked):
        if record.WhichOneof("record_type") == "history":
            whole = [item for item in record.history.item if len(item.nested_key) == 1]  # others are parts of pictures
            row = {item.nested_key[0]: json.loads(item.value_json) for item in whole}
            for name, value in row.items():
                if isinstance(value, int | float) and not name.startswith("_"):
                    found.setdefault(name, []).append((row["_step"], value))
    return found


READERS = {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_has_every_number_once(asked: Job, said: list[str], name: str) -> None:
    found, lines = READERS[name](asked), history(asked)
    assert [step for step, _ in found["step/loss"]] == [step for step, _ in found["step/gradient_norm"]] == STEPS
    for metric in ("loss", "val_loss", "lr", "images_per_second"):
        assert found[metric] == [(line["step"], pytest.approx(line[metric], rel=1e-6)) for line in lines], metric
    for part, below in (("value", ""), ("low", "/low"), ("high", "/high")):
        assert [value for _, value in found[f"accuracy{below}"]] == pytest.approx(
            [li["accuracy"][part] for li in lines]
        )
    assert [value for _, value in found["gradient_norm/stem"]] == pytest.approx(
        [line["gradient_norm"]["stem"] for line in lines]
    )
    results = json.loads((Path(asked.output) / "report" / "results.json").read_text(encoding="utf-8"))
    assert found["final/accuracy"] == [(9, pytest.approx(results["metrics"]["accuracy"]["value"]))]
    assert sum(line.startswith(f"tracked  {name}: ") for line in said) == 1
    assert not [line for line in said if line.startswith("note: ") and name in line]


def test_metrics_are_called_alike_in_each(asked: Job, said: list[str]) -> None:
    names = {name: set(reader(asked)) for name, reader in READERS.items()}
    assert names["tensorboard"] == names["mlflow"] == names["trackio"] == names["wandb"]
    assert {"accuracy", "val_loss", "step/loss", "final/f1_macro/low", "seconds/forward"} <= names["mlflow"]


def test_tensorboard_has_config_pictures_and_package(asked: Job, said: list[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(Path(asked.output) / "tensorboard"), size_guidance={"images": 0}).Reload()
    texts = {
        tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in ("config", "package", "report")
    }
    for field, value in fields(asked).items():
        assert f"\n| {field} | {value} |" in texts["config"]
    assert sha256(asked) in texts["package"] and texts["report"].endswith("index.html")
    assert len(events.Tensors("config")) == 1 and "_hparams_/session_start_info" in events.Tags()["tensors"]
    for path in Path(asked.output).glob("report/*.png"):
        assert events.Images(path.stem)[-1].encoded_image_string == path.read_bytes()


def test_mlflow_has_config_pictures_and_package(asked: Job, said: list[str], tmp_path: Path) -> None:
    client, run = mlflow_run(asked)
    assert run.info.status == "FINISHED" and run.info.run_name == "insects"
    assert {name: run.data.params[name] for name in fields(asked)} == {n: str(v) for n, v in fields(asked).items()}
    assert run.data.tags["package.sha256"] == sha256(asked)
    for ours in (
        *Path(asked.output).glob("report/*.png"),
        *(Path(asked.output) / n for n in ("report/index.html", "package/hubft.json")),
    ):
        folder = "pictures" if ours.suffix == ".png" else ours.parent.name
        theirs = client.download_artifacts(run.info.run_id, f"{folder}/{ours.name}", str(tmp_path))
        assert Path(theirs).read_bytes() == ours.read_bytes()


def test_wandb_has_config_pictures_and_package(asked: Job, said: list[str]) -> None:
    its = wandb_records(asked)
    runs = [record.run for record in its if record.WhichOneof("record_type") == "run"]
    assert {run.run_id for run in runs} == {known(asked, "wandb")} and {run.project for run in runs} == {"hubft"}
    config = {item.key: json.loads(item.value_json) for run in runs for item in run.config.update}
    assert {name: config[name] for name in fields(asked)} == fields(asked)
    artifacts = {one.artifact.type: one.artifact for one in its if one.WhichOneof("record_type") == "artifact"}
    assert {"package", "report"} <= set(artifacts) and sha256(asked) in str(artifacts["package"])
    media = Path(asked.output).glob("wandb/offline-run-*/files/media/images/*.png")
    assert {path.name.partition("_")[0] for path in media} == {p.stem for p in Path(asked.output).glob("report/*.png")}


def test_trackio_has_config_pictures_and_package(asked: Job, said: list[str]) -> None:
    name = known(asked, "trackio")
    config = trackio(asked, f"SQLiteStorage.get_run_config('hubft', {name!r})")
    assert {field: config[field] for field in fields(asked)} == fields(asked)
    folder = Path(asked.output) / "trackio"
    kept = {path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "hubft.lock"}
    wanted = [*Path(asked.output).glob("report/*.png"), Path(asked.output) / "package" / "hubft.json"]
    assert all(path.read_bytes() in kept for path in wanted)


def test_a_package_knows_nothing_of_trackers(asked: Job, said: list[str], tmp_path: Path) -> None:
    plain = replace(asked, track=(), output=str(tmp_path / "plain"))
    engine.finetune(plain)
    weights = "package/model.safetensors"
    assert (Path(asked.output) / weights).read_bytes() == (tmp_path / "plain" / weights).read_bytes()
    stated = json.loads((Path(asked.output) / "package" / "hubft.json").read_text(encoding="utf-8"))["job"]
    assert stated["track"] == [] and not set(TRACKERS) & {path.name for path in (tmp_path / "plain").iterdir()}
