"""The machine is measured: the fastest that agrees with fp32, what is fixed stays, nothing of the model moves."""

import copy
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hubft import HubftError, Job, Loaded
from hubft.base.errors import JobError
from hubft.families import plugins
from hubft.families.build import build
from hubft.job import Compute, Head, Recipe
from hubft.machine import bench, timings
from hubft.machine import choose as machine
from hubft.machine.choose import Choice, Work
from hubft.machine.runtime import Runtime
from hubft.tasks.losses import CrossEntropy

NAP = 0.03  # seconds; a pass of the toy network takes less than a tenth of it
COLOURS = torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(0))
BATCH = (COLOURS.expand(8, 3, 32, 32).clone(), torch.arange(8) % 3)


class Odd(nn.Module):
    """Hands its input on, slowly where it is told to; gives each image another's features where it is wrong."""

    def __init__(self, slow: Callable[[Tensor], bool], wrong: bool = False) -> None:
        super().__init__()
        self.slow, self.wrong = slow, wrong

    def forward(self, features: Tensor) -> Tensor:
        if self.slow(features):
            time.sleep(NAP)
        return features.flip(0) if self.wrong and in_bf16(features) else features


def in_bf16(_: Tensor) -> bool:
    return torch.is_autocast_enabled("cpu")


def in_fp32(_: Tensor) -> bool:
    return not torch.is_autocast_enabled("cpu")


def contiguous(features: Tensor) -> bool:
    return features.is_contiguous()


def always(_: Tensor) -> bool:
    return True


def with_one_thread(_: Tensor) -> bool:
    return torch.get_num_threads() == 1


@pytest.fixture(autouse=True)
def measured_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measure runs of any length, and as long as it takes; two cores; times are kept in an empty folder."""
    monkeypatch.setattr(machine, "SHORT", 0.0)
    monkeypatch.setattr(machine, "SHARE", 1e6)
    monkeypatch.setattr(machine, "COMPILING", float("inf"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))


def toy(odd: nn.Module) -> Loaded:
    torch.manual_seed(0)
    loaded = build(plugins.manager("toy"), Job("toy:small", "-", head=Head(outputs=3)), pretrained=True)
    loaded.model.stem.append(odd)  # type: ignore[union-attr,operator]
    return loaded


def choose(
    loaded: Loaded, compute: Compute | None = None, decode: Callable[[], object] = list, budget: str = "", **work: Any
) -> tuple[Choice, dict[tuple[str, str, str], dict[str, Any]]]:
    """Return what is chosen, and the table's rows by (kind, precision, memory format), those with best threads."""
    recipe = Recipe(train="all", budget=budget)
    job = Job("toy:small", "-", recipe=recipe, compute=compute or Compute(device="cpu"))
    known = {"criterion": CrossEntropy(), "batch": BATCH, "steps": 1000, "forwards": 1000}
    given = Work(**(known | work), decode=decode)
    choice = machine.choose(plugins.manager("toy"), job, loaded, given)
    json.dumps(choice.evidence, allow_nan=False)
    rows = choice.evidence["table"]
    return choice, {(row["kind"], row["precision"], row["memory_format"]): row for row in rows}


def test_the_fastest_is_taken_for_steps_and_for_forward_passes() -> None:
    choice, rows = choose(toy(Odd(in_fp32)))
    assert (choice.compute.precision, choice.forward.precision) == ("bf16", "bf16")
    assert rows["step", "bf16", choice.compute.memory_format]["cosine"] > bench.COSINE
    assert rows["forward", "bf16", choice.forward.memory_format]["error"] < bench.FEATURES
    slow, quick = (rows["step", precision, "contiguous"]["milliseconds_per_image"] for precision in ("fp32", "bf16"))
    assert slow > 1000 * NAP / 8 > quick


def test_bf16_is_not_taken_where_it_is_slow() -> None:
    choice, _ = choose(toy(Odd(in_bf16)))
    assert (choice.compute.precision, choice.forward.precision) == ("fp32", "fp32")


def test_the_memory_format_is_measured() -> None:
    for_steps = toy(Odd(lambda features: torch.is_grad_enabled() == contiguous(features)))
    choice, _ = choose(for_steps)
    assert (choice.compute.memory_format, choice.forward.memory_format) == ("channels_last", "contiguous")


def test_what_is_fast_and_wrong_is_refused() -> None:
    choice, rows = choose(toy(Odd(in_fp32, wrong=True)))
    assert (choice.compute.precision, choice.forward.precision) == ("fp32", "fp32")
    refused = [row for row in rows.values() if row.get("agrees") is False]
    assert {row["kind"] for row in refused} == {"step", "forward"} and {row["precision"] for row in refused} == {"bf16"}


class Backwards(nn.Module):
    """Hands its input on, and in bf16 the gradient with the wrong sign; fp32 is slow."""

    def forward(self, features: Tensor) -> Tensor:
        if in_fp32(features):
            time.sleep(NAP)
        elif features.requires_grad:
            features = features * 1
            features.register_hook(torch.neg)
        return features


def test_a_new_head_of_zeros_does_not_hide_wrong_gradients() -> None:
    """It lets no gradient through to what comes before it."""
    loaded = toy(Backwards())
    nn.init.zeros_(loaded.model.get_parameter("head.weight"))
    choice, _ = choose(loaded)
    assert (choice.compute.precision, choice.forward.precision) == ("fp32", "bf16")


def test_a_setting_that_fails_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Viewing(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features.view(features.shape[0], -1).view_as(features)

    for short in (0.0, 20.0):  # whether the run is measured or too short for it
        monkeypatch.setattr(machine, "SHORT", short)
        choice, rows = choose(toy(Viewing()), steps=100, forwards=100)
        assert (choice.compute.memory_format, choice.forward.memory_format) == ("contiguous", "contiguous")
        assert "view size is not compatible" in choice.evidence["notes"][0]
        assert not [row for row in rows.values() if row["memory_format"] == "channels_last"]


def test_nothing_of_the_model_and_no_generator_moves() -> None:
    loaded = toy(Odd(in_fp32))
    model = loaded.model
    model.eval()
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    grads = [(p.requires_grad, p.grad, p.stride()) for p in model.parameters()]
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    choose(loaded)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [(p.requires_grad, p.grad, p.stride()) for p in model.parameters()] == grads
    assert torch.equal(torch.get_rng_state(), random) and torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "fixed",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {"memory_format": "contiguous"},
        {"memory_format": "channels_last"},
        {"threads": 2},
        {"workers": 3},
        {"compile": "on"},
        {"compile": "off", "cache": 2.0, "checkpoint_every": 7},
    ],
)
def test_what_the_user_fixed_stays(fixed: dict[str, Any]) -> None:
    slow = Odd(in_fp32 if fixed.get("precision") == "fp32" else always, wrong=fixed.get("precision") == "bf16")
    choice, _ = choose(toy(slow), Compute(device="cpu", **fixed))
    assert {name: getattr(choice.compute, name) for name in fixed} == fixed
    assert {name: getattr(choice.forward, name) for name in fixed if name != "compile"}.items() <= fixed.items()


def test_nothing_is_left_to_choose() -> None:
    for short in (0.0, 1e9):
        machine.SHORT = short  # the fixture puts it back
        choice, _ = choose(toy(Odd(always)))
        for compute in (choice.compute, choice.forward):
            assert "auto" not in (compute.device, compute.precision, compute.memory_format, compute.compile)
            assert compute.threads > 0 and compute.workers >= 0


def test_a_short_run_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SHORT", 20.0)
    choice, rows = choose(toy(Odd(in_fp32)), steps=100, forwards=100)
    assert not rows and "not measured" in choice.evidence["notes"][0]
    assert (choice.compute.precision, choice.compute.memory_format) == ("fp32", "channels_last")
    choice, rows = choose(toy(Odd(in_fp32)), steps=100_000)
    assert rows and choice.compute.precision == "bf16"


def test_measuring_is_bounded_by_a_share_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SHARE", 0.0)
    choice, rows = choose(toy(Odd(in_fp32)))
    assert choice.compute.precision == choice.forward.precision == "fp32"
    assert {row.get("fails") for key, row in rows.items() if key[1:] != ("fp32", "channels_last")} == {
        "no time left to try it"
    }


def test_times_are_kept_for_the_next_run_and_agreement_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd = Odd(in_fp32)
    loaded = toy(odd)
    first, rows = choose(loaded)

    def never(*_: Any) -> None:
        raise AssertionError("timed again")

    with monkeypatch.context() as patch:
        patch.setattr(bench.Bench, "time", never)
        again, known = choose(loaded)
        assert again.compute == first.compute and again.forward == first.forward
        assert {row.get("milliseconds_per_image") for row in known.values()} == {
            row.get("milliseconds_per_image") for row in rows.values()
        }
        odd.wrong = True
        assert choose(loaded)[0].compute.precision == "fp32"
        for other in ({"memory_format": "contiguous"}, {"precision": "fp32"}):
            with pytest.raises(AssertionError, match="timed again"):
                choose(loaded, Compute(device="cpu", **other))
        loaded.model.block.append(nn.ReLU())  # type: ignore[union-attr,operator]
        with pytest.raises(AssertionError, match="timed again"):
            choose(loaded)
    (file,) = (tmp_path / "cache" / "machine").glob("*.json")
    file.write_text("[[{}, {}]]")
    assert timings.Timings(toy(odd).model, torch.device("cpu")) == {}


def test_a_cache_that_cannot_be_written_costs_only_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    choice, _ = choose(toy(Odd(in_fp32)))
    assert choice.compute.precision == "bf16"
    assert any(note.startswith("not kept for the next run: ") for note in choice.evidence["notes"])


@pytest.mark.parametrize(
    ("one", "two", "decode", "threads", "workers"),
    [
        (10.0, 5.0, 0.0, 2, 0),  # milliseconds an image
        (5.0, 500.0, 0.0, 1, 0),
        (5.0, 5.0, 0.0, 1, 0),
        (10.0, 5.0, 2.0, 2, 0),
        (10.0, 9.0, 8.0, 1, 1),
        (10.0, 9.0, 80.0, 1, 1),
    ],
)
def test_threads_and_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, one: float, two: float, decode: float, threads: int, workers: int
) -> None:
    """On two cores, with made-up times: a second thread or a worker, whichever helps more, or neither."""

    def time(_: bench.Bench, setting: timings.Setting, best: float | None = None) -> timings.Timing:
        return timings.Timing({1: one, 2: two}[setting.threads] / 1000, 1.0)

    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(bench.Bench, "time", time)
    monkeypatch.setattr(machine, "decoding", lambda *_: decode / 1000)
    choice, _ = choose(toy(Odd(always)))
    assert (choice.compute.threads, choice.compute.workers) == (threads, workers)
    assert (choice.forward.threads, choice.forward.workers) == (threads, workers)


def test_a_worker_that_the_user_asked_for_has_its_core(monkeypatch: pytest.MonkeyPatch) -> None:
    faster = {1: timings.Timing(0.010, 1.0), 2: timings.Timing(0.005, 1.0)}
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(bench.Bench, "time", lambda _, setting, best=None: faster[setting.threads])
    choice, _ = choose(toy(Odd(always)), Compute(device="cpu", workers=1))
    assert (choice.compute.threads, choice.compute.workers) == (1, 1)


class Dropping(nn.Dropout):
    """Takes its time for what it drops."""

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            time.sleep(NAP)
        return super().forward(features)


def test_a_step_is_timed_with_what_it_drops() -> None:
    _, rows = choose(toy(Dropping(0.5)))
    step, forward = (rows[kind, "fp32", "contiguous"]["milliseconds_per_image"] for kind in ("step", "forward"))
    assert step > 1000 * NAP / 8 > forward


@pytest.mark.parametrize(("length", "workers"), [(75, 1), (76, 0)])
def test_workers_need_a_temporary_folder_that_sockets_can_lie_in(
    monkeypatch: pytest.MonkeyPatch, length: int, workers: int
) -> None:
    """Else they would wait forever: their names may not be longer."""
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * (length - 1))
    assert Runtime(Compute(device="cpu")).workers == workers
    choice, _ = choose(toy(nn.Identity()), decode=lambda: time.sleep(NAP))
    assert choice.compute.workers == workers
    if not workers:
        with pytest.raises(JobError, match=r"^workers 1: the path of the temporary folder, .* of 75 bytes at most$"):
            Runtime(Compute(device="cpu", workers=1))


def test_decoding_is_timed_as_the_run_will_do_it() -> None:
    """The first epoch decodes, the others find the pixels in memory."""
    naps = iter([0.08, 0.0])
    assert 0.01 <= bench.decoding(lambda: time.sleep(next(naps)), images=2, epochs=4) < 0.02


def test_threads_that_the_environment_fixed_stay() -> None:
    choice, rows = choose(toy(Odd(with_one_thread)))
    assert choice.compute.threads == 1 and {row["threads"] for row in rows.values()} == {1}


@pytest.mark.parametrize(("first", "each", "pays"), [(1.0, 0.001, True), (1e3, 0.001, False), (1.0, 1.0, False)])
def test_compiling_must_pay_off_within_the_run(
    monkeypatch: pytest.MonkeyPatch, first: float, each: float, pays: bool
) -> None:
    """Times of the compiler are made up, those of the network are real: 4 ms an image, so 4 s for 1000."""
    real = bench.Bench.time

    def time(self: bench.Bench, setting: timings.Setting, best: float | None = None) -> timings.Timing:
        return timings.Timing(each, first) if setting.compile else real(self, setting, best)

    monkeypatch.setattr(bench.Bench, "time", time)
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(machine, "COMPILING", 1.0)
    choice, _ = choose(toy(Odd(always)))
    assert choice.compute.compile == ("on" if pays else "off") and choice.forward.compile == "off"


class Listed(CrossEntropy):
    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        return super().forward(outputs, torch.stack(targets))


@pytest.mark.parametrize(
    "asked", [{"budget": "1s"}, {"criterion": Listed(), "batch": (BATCH[0], list(BATCH[1]))}], ids=["budget", "list"]
)
def test_where_the_time_is_short_or_shapes_change_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    """A run of 4 s by its images has one by its budget, less than the compiler takes; targets that are a list have
    other shapes in every batch."""
    real = bench.Bench.time

    def time(self: bench.Bench, setting: timings.Setting, best: float | None = None) -> timings.Timing:
        return timings.Timing(0.001, 1.5) if setting.compile else real(self, setting, best)

    monkeypatch.setattr(bench.Bench, "time", time)
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(machine, "COMPILING", 0.0)
    choice, _ = choose(toy(Odd(always)), **asked)
    assert choice.compute.compile == "off"


def test_a_compiler_that_fails_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: nn.Module) -> nn.Module:
        raise HubftError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setattr(machine, "COMPILING", 0.0)
    choice, _ = choose(toy(Odd(always)))
    assert choice.compute.compile == "off"
    assert [row["fails"] for row in choice.evidence["table"] if row["compile"]] == ["no C++ compiler"]


def test_a_runtime_is_safe_where_nothing_was_measured() -> None:
    runtime = Runtime(Compute(device="cpu"))
    assert (runtime.precision, runtime.memory_format, runtime.compile) == ("fp32", "contiguous", False)
    model = nn.Conv2d(3, 4, 3)
    assert runtime.compiled(model) is model and runtime.place(model) is model
    assert runtime.threads == torch.get_num_threads()


def test_a_runtime_lays_out_convolutions_and_images() -> None:
    runtime = Runtime(Compute(device="cpu", memory_format="channels_last"))
    last = {"memory_format": torch.channels_last}
    assert runtime.place(nn.Conv2d(3, 4, 3)).weight.is_contiguous(**last)  # type: ignore[operator,union-attr]
    images, targets = runtime.to_device((torch.rand(2, 3, 8, 8), torch.zeros(2)))
    assert images.is_contiguous(**last) and targets.shape == (2,)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), Runtime(Compute(device="cpu", threads=before + 1)).using_threads():
        assert torch.get_num_threads() == before + 1
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_fp16_on_a_cpu_has_its_scaler() -> None:
    runtime = Runtime(Compute(device="cpu", precision="fp16"))
    with runtime.autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float16
    assert runtime.scaler().is_enabled() and not Runtime(Compute(device="cpu")).scaler().is_enabled()
