"""hubft from Python: the commands as functions."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pictures
import pytest
import torch

import hubft
from hubft import HubftError, api
from hubft.options import Options

SMALL = {"epochs": 1, "size": 32, "device": "cpu", "workers": 0, "threads": 1, "quiet": True}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> api.Result:
    root = tmp_path_factory.mktemp("api")
    return hubft.finetune("toy:small", pictures.folder(root / "data"), output=root / "run", **SMALL)


def test_a_run_from_python_gives_what_the_folder_holds(result: api.Result) -> None:
    assert result.metrics.headline == "accuracy" and 0 <= result.metrics.head.value <= 1
    assert (result.package / "hubft.json").is_file() and len(result.history) == 1
    assert {path.name for path in result.pictures} == {"curves.png", "confusion.png"}
    inputs = torch.zeros(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(result.model(inputs), hubft.load(result.package)(inputs))


def test_a_notebook_shows_the_table_and_the_pictures(result: api.Result) -> None:
    shown = result._repr_html_()
    assert shown.count("data:image/png;base64,") == 2
    assert str(result.metrics.values["f1_macro"]) in shown and "macro F1" in shown


def test_what_the_package_reaches_and_says(result: api.Result, tmp_path: Path) -> None:
    data = pictures.folder(tmp_path / "other")
    measured = hubft.evaluate(result.package, data)
    assert measured.metrics.head.n == 12 and len(measured.outcomes) == 12
    answers = hubft.predict(result.package, [data / "val" / "ants", data / "none.png"])
    assert [bool(answer.error) for answer in answers] == [False] * 4 + [True]
    assert set(answers[0].said["probabilities"]) == {"ants", "bees", "wasps"}


def test_options_have_the_names_and_defaults_of_a_job() -> None:
    wanted = {name: field for name, (_, field) in api.fields()}
    assert len(wanted) == sum(1 for _ in api.fields()), "no name twice"
    stated = {name: hint.__forward_arg__ for name, hint in inspect.get_annotations(Options).items()}
    plain = {"tuple[str, ...]": "str | Sequence[str]", "tuple[int, ...]": "Sequence[int]"}
    plain["tuple[Tracker, ...]"] = "Tracker | Sequence[Tracker]"
    own = {"loss": "str | Callable[..., Any]"}  # Python passes it as it is
    types = {name: plain.get(str(field.type), str(field.type)) for name, field in wanted.items()} | own
    assert stated == types, "\n".join(f"    {name}: {kind}" for name, kind in types.items())
    parameters = inspect.signature(hubft.finetune).parameters
    assert all(parameters[name].default == field.default for name, field in wanted.items())


def test_a_list_of_one_may_be_a_text() -> None:
    job = api.job("toy:small", "d", {"target": "price", "class_weights": "balanced", "epochs": 2})
    assert (job.labels.target, job.recipe.class_weights, job.recipe.epochs) == (("price",), ("balanced",), 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "there is no option 'epoch'. Did you mean 'epochs'?"),
        ({"outputs": 3}, "there is no option 'outputs'."),
        ({"epochs": "3"}, "epochs '3': must be a whole number"),
        ({"lr": -1.0}, "lr -1.0: must be in [0, 1000]"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(options: dict[str, object], said: str) -> None:
    with pytest.raises(HubftError, match=re.escape(said)):
        api.job("toy:small", "d", options)


def test_importing_hubft_imports_no_torch() -> None:
    code = "import hubft, sys; assert 'torch' not in sys.modules; dir(hubft); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'finetuned'"):
        _ = hubft.finetuned  # type: ignore[attr-defined]
