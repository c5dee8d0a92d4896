"""A job: its reference, its bounds, its JSON, and the grammar of `--train`."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import EVERY_FIELD, leaves

from hubft import Head, HubftError, Job, Preprocess
from hubft.base.errors import JobError
from hubft.base.serialize import from_dict, to_dict
from hubft.job import Compute, Recipe, Reference
from hubft.rules import Rule, parse

JOB = Job("toy:small", "flowers")


@pytest.mark.parametrize(
    ("text", "family", "name"),
    [
        ("timm:resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
        ("hub:owner/repo:branch:model", "hub", "owner/repo:branch:model"),
        ("a_b:x y", "a_b", "x y"),
        ("toy::", "toy", ":"),
    ],
)
def test_all_after_the_first_colon_is_the_name(text: str, family: str, name: str) -> None:
    assert Reference.parse(text) == Reference(family, name)
    assert str(Reference.parse(text)) == text
    assert (Job(text, "d").family, Job(text, "d").name) == (family, name)


@pytest.mark.parametrize("text", ["", "resnet18", ":resnet18", "timm:", "no-family:x", "a b:x", "../x:y", "1:x"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="no model reference: write family:name") as caught:
        Job(text, "d")
    assert repr(text) in str(caught.value)


def test_json_brings_back_every_field() -> None:
    defaults, changed = leaves(JOB), leaves(EVERY_FIELD)
    assert not [name for name in defaults if defaults[name] == changed[name]], "give EVERY_FIELD the new field too"
    for job in (JOB, EVERY_FIELD):
        assert from_dict(Job, json.loads(json.dumps(to_dict(job)))) == job


@pytest.mark.parametrize(
    "left_out", [None, "labels", "head", "recipe", "compute", "size", "holdout", "compress", "package"]
)
def test_what_json_leaves_out_is_the_default(left_out: str | None) -> None:
    data = {"reference": "toy:small", "data": "flowers"}
    if left_out:
        data = to_dict(JOB)
        del data[left_out]
    assert from_dict(Job, data) == JOB
    assert from_dict(Job, data | {"recipe": {}, "head": {}, "labels": {}, "compute": {}}) == JOB


def altered(path: str, value: object) -> Any:
    """Return the JSON of a job with one key set, `recipe.lr` in a part of it."""
    data = json.loads(json.dumps(to_dict(JOB)))
    *parts, key = path.split(".")
    inner = data
    for part in parts:
        inner = inner[part]
    inner[key] = value
    return data


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sise", "job: unknown key 'sise'. Did you mean 'size'?"),
        ("recipe.epoch", "job.recipe: unknown key 'epoch'. Did you mean 'epochs'?"),
        ("head.zzz", "job.head: unknown key 'zzz'."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(path: str, message: str) -> None:
    with pytest.raises(JobError) as caught:
        from_dict(Job, altered(path, 1))
    assert str(caught.value) == message


@pytest.mark.parametrize("key", ["reference", "data"])
def test_a_missing_key_is_named(key: str) -> None:
    data = to_dict(JOB)
    del data[key]
    with pytest.raises(JobError, match=f"job: key '{key}' is missing"):
        from_dict(Job, data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("reference", 5),
        ("data", None),
        ("size", "64"),
        ("size", 64.0),
        ("size", True),
        ("holdout", "0.2"),
        ("holdout", False),
        ("package", "half"),
        ("package", ["full"]),
        ("recipe", None),
        ("recipe", []),
        ("recipe.train", 1),
        ("recipe.epochs", 1.5),
        ("recipe.augment", "heavy"),
        ("compute.precision", "fp8"),
        ("head.hidden", "64"),
        ("head.hidden", [64, "32"]),
        ("head.hidden", {"64": 1}),
        ("labels", None),
        ("labels.target", "kind"),
        ("labels.separator", None),
        ("labels.empty", "nothing"),
        ("recipe.loss", 1),
        ("recipe.sampler", "weighted"),
        ("recipe.keep", "first"),
        ("recipe.class_weights", "balanced"),
        ("recipe.patience", 1.5),
    ],
)
def test_a_value_of_the_wrong_type_is_named_by_its_path(path: str, value: object) -> None:
    with pytest.raises(JobError, match=f"^job.{path}: "):
        from_dict(Job, altered(path, value))


def test_pairs_and_either_or_come_back() -> None:
    for made in (Preprocess((16, 20), 18), Preprocess((16, 20), (18, 22), "squash", channels="bgr")):
        assert from_dict(Preprocess, json.loads(json.dumps(to_dict(made)))) == made
    for wrong in ({"size": [16, 16, 16], "resize": 18}, {"size": [16, 16], "resize": [18]}, {"size": 16, "resize": 18}):
        with pytest.raises(JobError, match=r"^job\.(size|resize): "):
            from_dict(Preprocess, wrong)


@pytest.mark.parametrize("data", [None, [], "job", 3])
def test_json_that_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(JobError, match=r"^job: expected an object"):
        from_dict(Job, data)


def test_an_integer_serves_as_a_float() -> None:
    rate = from_dict(Job, altered("recipe.lr", 1)).recipe.lr
    assert (rate, type(rate)) == (1.0, float)


BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {  # field: (accepted, refused)
    "size": ([0, 8, 4096], [-1, 1, 7, 4097, 10**400]),
    "holdout": ([0.01, 0.9], [0.0, 0.95, float("nan")]),
    "white": ([0, 1, 65535], [-1, 65536]),
    "head.hidden": ([[], [1], [65536] * 8], [[0], [65537], [1] * 9]),
    "head.dropout": ([0.0, 0.99], [-0.1, 1.0, float("nan")]),
    "head.outputs": ([0, 1_000_000], [-1, 1_000_001]),
    "recipe.epochs": ([0, 1, 100_000], [-1, 100_001]),
    "recipe.batch_size": ([1, 65536], [0, 65537]),
    "recipe.tokens": ([0, 2**31], [-1, 2**31 + 1]),
    "recipe.accumulate": ([1, 32], [0, 33]),  # at most the batch
    "recipe.lr": ([0.0, 1e-12, 1e3], [-1.0, 1001.0, float("inf"), float("nan")]),
    "recipe.body_lr": ([0.0, 1e3], [-0.1, 1001.0]),
    "recipe.layer_decay": ([0.0, 1.0], [-0.1, 1.1, float("nan")]),
    "recipe.stage_lr": ([[], ["a=0", "b=1e3"], ["a=b=1"]], [["a"], ["a="], ["=1"], ["a=x"], ["a=-1"], ["a=1001"]]),
    "recipe.weight_decay": ([0.0, 1e3], [-0.1, 1001.0]),
    "recipe.warmup": ([0.0, 1.0], [-0.1, 1.1]),
    "recipe.clip": ([0.0, 1e9], [-1.0, float("inf")]),
    "recipe.averaging": ([0.0, 0.999999], [-0.1, 1.0]),
    "recipe.smoothing": ([0.0, 0.99], [-0.1, 1.0, float("nan")]),
    "recipe.l1": ([0.0, 1e3], [-0.1, 1001.0, float("nan")]),
    "recipe.class_weights": (
        [[], ["balanced"], ["a=0", "b=1e6"], ["a=b=1"]],
        [["balance"], ["balanced", "a=1"], ["a"], ["a="], ["=1"], ["a=x"], ["a=-1"], ["a=1000001"], ["a=nan"]],
    ),
    "recipe.head_weights": (
        [[], ["uncertainty"], ["a=0", "b=1e6"]],
        [["balanced"], ["uncertainty", "a=1"], ["a"], ["a=-1"], ["a=inf"]],
    ),
    "soup": ([[], ["runs/a", "runs/b"]], [["runs/a", "runs/a"]]),
    "track": ([[], ["wandb", "mlflow"]], [["wandb", "wandb"]]),
    "recipe.power": ([0.01, 100.0], [0.0, 101.0, float("nan")]),
    "recipe.anchor": ([0.0, 1e3], [-0.1, 1001.0, float("nan")]),
    "recipe.patience": ([0, 100_000], [-1, 100_001]),
    "recipe.views": ([1, 64], [0, 65]),
    "recipe.seed": ([0, 2**63 - 1], [-1, 2**63, 10**400]),
    "labels.target": ([[], ["kind"], ["kind", "grade"]], [["kind", "kind"], ["a", "b", "a"]]),
    "compute.threads": ([0, 1024], [-1, 1025]),
    "compute.cache": ([0.0, 1e6], [-0.1, float("inf"), float("nan")]),
    "compute.workers": ([-1, 1024], [-2, 1025]),
    "teaching.temperature": ([0.0, 100.0], [-0.1, 101.0, float("nan")]),
    "teaching.imitation": ([0.0, 1.0], [-0.1, 1.1, float("nan")]),
    "teaching.hints": ([0.0, 1e3], [-0.1, 1001.0, float("nan")]),
    "compute.devices": ([1, 1024], [0, 1025]),
    "compute.checkpoint_every": ([0, 2**31], [-1, 2**31 + 1]),
    "adapting.rank": ([1, 4096], [0, 4097]),
    "adapting.alpha": ([0, 2**20], [-1, 2**20 + 1]),
}
OPEN = {"recipe.body_lr", "recipe.layer_decay"}
"""Numbers that a job may leave out."""


def test_every_number_has_bounds() -> None:
    numbers = {name for name, value in leaves(JOB).items() if type(value) in (int, float, tuple)}
    assert numbers | OPEN == set(BOUNDS)


@pytest.mark.parametrize(("path", "value"), [(path, v) for path, (good, _) in BOUNDS.items() for v in good])
def test_a_value_at_the_bound_is_accepted(path: str, value: Any) -> None:
    wanted = tuple(value) if isinstance(value, list) else value
    assert leaves(from_dict(Job, altered(path, value)))[path] == wanted


@pytest.mark.parametrize(("path", "value"), [(path, v) for path, (_, bad) in BOUNDS.items() for v in bad])
def test_a_value_beyond_its_bounds_is_refused_by_its_flag(path: str, value: Any) -> None:
    name = path.rpartition(".")[2]
    with pytest.raises(JobError, match=rf"^{name} .*: must be ") as caught:
        from_dict(Job, altered(path, value))
    assert caught.value.typed() == "--" + str(caught.value).replace(name, name.replace("_", "-"), 1).replace(
        "..batch_size", "..--batch-size"
    )


@pytest.mark.parametrize("path", [path for path, (_, bad) in BOUNDS.items() if not isinstance(bad[0], list)])
def test_the_bounds_that_a_message_states_are_those_that_are_checked(path: str) -> None:
    good, bad = BOUNDS[path]
    with pytest.raises(JobError) as caught:
        from_dict(Job, altered(path, bad[0]))
    stated = str(caught.value).partition("must be ")[2].removeprefix("0, for the model's own, or ").removeprefix("in ")
    if path == "recipe.accumulate":
        assert stated == "1..batch_size"
        return
    low, high = re.split(r"\.\.|, ", stated.replace("2^63-1", str(2**63 - 1)).strip("[]"))
    kind = type(good[0])
    assert (kind(low), kind(high)) == (good[1] if path == "size" else good[0], good[-1])


def test_what_python_has_in_place_of_plain_values_is_taken(tmp_path: Path) -> None:
    class Loud(str):
        def __str__(self) -> str:
            return "LOUD"

    recipe = Recipe(epochs=np.int64(3), lr=np.float64(0.5), clip=2, stage_lr=["a=1"])  # type: ignore[arg-type]
    head = Head(hidden=[np.int64(8)])  # type: ignore[arg-type]
    job = Job(Loud("toy:small"), tmp_path / "flowers", head=head, recipe=recipe, output=tmp_path)
    assert job == from_dict(Job, json.loads(json.dumps(to_dict(job))))
    types = {type(value) for value in leaves(job).values()}
    assert types == {str, int, float, bool, tuple, type(None)} and type(job.head.hidden[0]) is int
    assert (job.reference, job.data, job.output) == ("toy:small", str(tmp_path / "flowers"), str(tmp_path))
    assert (job.recipe.epochs, job.recipe.lr, job.recipe.clip, job.recipe.stage_lr) == (3, 0.5, 2.0, ("a=1",))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Recipe(epochs=1.5), "epochs 1.5: must be a whole number"),
        (lambda: Recipe(epochs=True), "epochs True: must be a whole number"),
        (lambda: Recipe(probe="no"), "probe 'no': must be True or False"),
        (lambda: Recipe(batch_size="8"), "batch_size '8': must be a whole number"),
        (
            lambda: Recipe(schedule="cosin"),
            "schedule 'cosin': must be one of cosine, linear, polynomial, step, one-cycle, constant",
        ),
        (lambda: Recipe(stage_lr=0.1), "stage_lr 0.1: must be a list, and each of it a text"),
        (lambda: Compute(cache="1"), "cache '1': must be a number"),
        (lambda: Job("toy:small", 5), "data 5: must be a text or a path"),
        (lambda: Job("toy:small", "d", recipe=None), "recipe None: must be a Recipe"),
    ],
)
def test_a_value_of_another_type_is_named_by_its_field(make: Callable[[], object], said: str) -> None:
    with pytest.raises(JobError) as caught:
        make()
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0.0), ("90s", 90.0), ("0.01s", 0.01), ("5m", 300.0), ("1.5h", 5400.0), ("1e8s", None)]
    + [(text, None) for text in ("5", "m", "-5m", "0s", "5 m", "5min", "1h30m", "nans", "99999h", "5m\n")]
)  # fmt: skip
def test_a_budget_is_a_time_or_is_refused(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(JobError, match=r"^budget .*: must be a time such as 90s, 5m or 1h$"):
            Recipe(budget=text)
    else:
        assert Recipe(budget=text).seconds == seconds


def test_a_published_job_keeps_no_path_of_this_machine() -> None:
    home = "/home/me/secret"
    job = Job("toy:small", f"{home}/flowers/", output=f"{home}/runs/1", recipe=Recipe(epochs=2)).published()
    assert home not in json.dumps(to_dict(job))
    assert (job.data, job.output, job.recipe.epochs) == ("flowers", "", 2)
    assert Job("toy:small", "/").published().data == "data"


def test_outputs_are_set_on_a_copy() -> None:
    assert EVERY_FIELD.with_outputs(9).head == Head((64, 32), 0.25, 9, "both")
    assert EVERY_FIELD.head.outputs == 7


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("all", [Rule("all")]),
        ("head", [Rule("head")]),
        ("last:2", [Rule("last", "2")]),
        ("stage:layer4", [Rule("stage", "layer4")]),
        ("stage:blocks.0:x", [Rule("stage", "blocks.0:x")]),
        ("type:BatchNorm2d", [Rule("type", "BatchNorm2d")]),
        ("match:(bias|norm)$", [Rule("match", "(bias|norm)$")]),
        ("match:a@b@0.5", [Rule("match", "a@b", 0.5)]),
        ("all@0.25", [Rule("all", "", 0.25)]),
        (" head , last:1@0.5 ", [Rule("head"), Rule("last", "1", 0.5)]),
        ("all,-norms", [Rule("all"), Rule("norms", minus=True)]),
        ("-match:-x@0.5", [Rule("match", "-x", 0.5, minus=True)]),
        (
            "head@0, stage4@0.5, -blocks.0@.75",
            [
                Rule("head"),
                Rule("name", "stage4", 0.5),
                Rule("name", "blocks.0", 0.75, minus=True),
            ],
        ),
        ("heads", [Rule("name", "heads")]),  # perhaps a stage: the model says
        ("head,stage:a@0,stage:b@.75", [Rule("head"), Rule("stage", "a"), Rule("stage", "b", 0.75)]),
    ],
)
def test_train_has_rules(text: str, rules: list[Rule]) -> None:
    assert list(parse(text)) == rules


NO_RULE, NO_VALUE = "is no rule; known are all, head, last:VALUE, stage:VALUE", "last:N needs N >= 1, and @START a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", NO_RULE),
        ("stge:x", "Did you mean 'stage'?"),
        ("head,", NO_RULE),
        ("last", NO_RULE),
        ("last:", NO_RULE),
        ("all:", NO_RULE),
        ("all:x", NO_RULE),
        ("head:2", NO_RULE),
        ("stage:", NO_RULE),
        ("@0.5", NO_RULE),
        ("-", NO_RULE),
        ("--all", NO_RULE),
        ("norms:x", NO_RULE),
        ("last:0", NO_VALUE),
        ("last:-1", NO_VALUE),
        ("last:two", NO_VALUE),
        ("head@", NO_VALUE),
        ("head@1", NO_VALUE),
        ("head@-0.1", NO_VALUE),
        ("head@half", NO_VALUE),
        ("head@nan", NO_VALUE),
        ("match:(", "'match:(' is no regular expression: missing )"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(JobError) as caught:
        Job("toy:small", "d", recipe=Recipe(train=text))
    message = str(caught.value)
    assert message.startswith("train: ") and said in message and "\n" not in message
    assert isinstance(caught.value, HubftError)


@pytest.mark.parametrize(
    "module", ["hubft", "hubft.job", "hubft.families.plugins", "hubft.cli.main", "hubft.base.console"]
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'matplotlib', 'scipy', 'timm', 'huggingface_hub'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
