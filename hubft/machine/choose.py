"""How a run computes, chosen by measuring: a few real steps of this model, at this size, on this device."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import pluggy
from torch import nn

from hubft.base import draws
from hubft.base.batches import count, shape_of
from hubft.hookspecs import Batch, Loaded
from hubft.job import Compute, Job
from hubft.machine.bench import Bench, decoding
from hubft.machine.runtime import Runtime, can_hand_over, cores
from hubft.machine.timings import Setting, Timings
from hubft.machine.workers import crew

SHORT = 20.0  # seconds: of a run that is shorter, nothing is measured
SHARE = 0.15  # of the predicted run that may go into measuring
COMPILING = 100.0  # seconds that the first compiled step may take


@dataclass(frozen=True)
class Work:
    """What there will be to compute."""

    criterion: nn.Module
    """The task's plain loss."""
    batch: Batch
    """About eight real samples in the evaluation's form, float32 on the CPU, with their targets."""
    steps: int
    """How many images training steps will take, every epoch counted."""
    forwards: int
    """How many images the frozen part alone will see."""
    decode: Callable[[], object]
    """Loads as many training images as the batch has, in the main process, as the run will; called twice."""


@dataclass(frozen=True)
class Choice:
    """How the run computes."""

    compute: Compute
    """With nothing left to choose."""
    forward: Compute
    """The same for the forward pass of what is frozen."""
    step_seconds: float
    """That a training step takes, an image; 0 where nobody asked by a budget and it was not measured."""
    forward_seconds: float
    """That a forward pass takes, in the same way."""
    decode_seconds: float
    """That an image takes to be read, between steps; 0 where other processes do that, or it was not measured."""
    evidence: dict[str, Any]
    """What was measured, as JSON types."""


def choose(pm: pluggy.PluginManager, job: Job, loaded: Loaded, work: Work) -> Choice:
    """Return the fastest way to compute that was measured and that agrees with fp32; what the user fixed stays.

    Measuring takes about a seventh of the run at most, and a run of under 20 s is not measured. Times are
    kept for the next run of such a model; whether a setting agrees depends on the weights, and is looked at anew.

    :param loaded: on the CPU, with its new head; it is not changed.
    """
    device = Runtime(job.compute).device
    with draws.preserved():
        return _Search(job, Bench(pm, job, loaded, work.criterion, work.batch, device), work).choice()


class _Search:
    def __init__(self, job: Job, bench: Bench, work: Work) -> None:
        self.job, self.bench, self.work, self.fixed = job, bench, work, job.compute
        self.default = Runtime(job.compute)
        self.images = {kind: images for kind, images in (("step", work.steps), ("forward", work.forwards)) if images}
        self.threads = self.default.threads
        self.laid = "channels_last" if self.fixed.memory_format == "auto" else self.default.memory_format
        self.tried: dict[int, float] = {self.threads: 1.0}  # threads -> seconds in fp32, in any unit
        fixed = (self.fixed.precision, self.fixed.memory_format, self.fixed.threads, bench.saves)
        shape = (bench.images, *shape_of(bench.batch[0]))
        self.timings = Timings(bench.loaded.model, bench.device, fixed, shape)
        self.times: dict[Setting, float] = {}  # seconds an image, of the candidates that were tried
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.decode = 0.0
        self.begun = time.perf_counter()

    def choice(self) -> Choice:
        predicted, workers = self._first_passes(), self.default.workers
        step, forward = self._default("step"), self._default("forward")
        if predicted >= SHORT:  # the first pass of all is slow, so what is short for it is short
            predicted = self._predicted(self._time)
        self.limit = SHARE * predicted
        if predicted >= SHORT:
            self._try_threads()
            self._try_candidates()
            step = self._fastest("step") if "step" in self.images else step
            forward = self._fastest("forward") if "forward" in self.images else forward
            threads, workers = self._crew(step if self.work.steps else forward)
            step, forward = replace(step, threads=threads), replace(forward, threads=threads)
            if self.work.steps and self.fixed.compile == "auto" and not self.fixed.checkpoint_activations:
                step = replace(step, compile=self._compile_pays(step))
            problem = self.timings.keep()
            self.notes += [f"not kept for the next run: {problem}"] if problem else []
        else:
            self.notes.append(f"not measured: in fp32 the run would compute for {predicted:.1f} s")
        evidence = {
            "predicted_seconds": round(predicted, 1),
            "measured_for": round(time.perf_counter() - self.begun, 1),
            "images_in_a_pass": self.bench.images,
            "table": self.rows,
            "notes": self.notes,
        }
        chosen = self._compute(step, workers), self._compute(forward, workers)
        seconds = self._known(step), self._known(forward), 0.0 if workers else self.decode
        return Choice(*chosen, *seconds, evidence)

    def _known(self, setting: Setting) -> float:
        """Return the seconds that an image takes, from what was measured already where it can be."""
        plain = replace(setting, compile=setting.compile and setting in self.timings)
        return self._time(plain) if plain in self.timings or self.job.recipe.budget else 0.0

    def _compute(self, setting: Setting, workers: int) -> Compute:
        return replace(setting.compute(self.bench.device, self.fixed), workers=workers)

    def _first_passes(self) -> float:
        """Return the seconds that the first passes predict for the run. Where the user left the memory format open
        it is channels_last, faster for most convolutions, unless a pass shows that the model's code cannot read it.
        """
        try:
            return self._predicted(self.bench.first)
        except RuntimeError as error:
            if self.fixed.memory_format != "auto":
                raise
            self.notes.append(f"channels_last fails: {_line(error)}")
            self.laid = "contiguous"
            return self._predicted(self.bench.first)

    def _predicted(self, timed: Callable[[Setting], float]) -> float:
        """Return the seconds that the run would compute for in fp32, its budget at most."""
        whole = sum(images * timed(self._plain(kind)) for kind, images in self.images.items())
        return min(whole, self.job.recipe.seconds or whole)

    def _plain(self, kind: str) -> Setting:
        return Setting(kind, "fp32", self.laid, self.threads)

    def _default(self, kind: str) -> Setting:
        """Return what is used where nothing is measured; features are in fp32, unless the user wants it otherwise."""
        precision = "fp32" if (kind, self.fixed.precision) == ("forward", "auto") else self.default.precision
        compiled = self.default.compile and kind == "step"
        return Setting(kind, precision, self.laid, self.threads, compiled)

    def _candidates(self, kind: str) -> list[Setting]:
        scaled = ["fp16"] if self.bench.device.type == "cuda" else []
        precisions = ["bf16", *scaled, "fp32"] if self.fixed.precision == "auto" else [self.fixed.precision]
        free = self.fixed.memory_format == "auto" and self.laid == "channels_last"
        formats = ["channels_last", "contiguous"] if free else [self.laid]
        # What is fastest for most networks first, for the time may not suffice for all.
        return [Setting(kind, precision, laid, self.threads) for laid, precision in product(formats, precisions)]

    def _try_candidates(self) -> None:
        """Time what there is to choose from, for steps and for forward passes in turn, as long as there is time."""
        for setting in (one for pair in zip(*map(self._candidates, self.images), strict=True) for one in pair):
            best = min([self._time(self._plain(setting.kind)), *self._times(setting.kind).values()])
            try:
                if setting in self.timings or self._in_time(setting):
                    self.times[setting] = self._time(setting, best)
            except RuntimeError as error:  # an operation that this device lacks, or that wants another layout
                self._fails(setting, error)

    def _times(self, kind: str) -> dict[Setting, float]:
        return {setting: seconds for setting, seconds in self.times.items() if setting.kind == kind}

    def _fastest(self, kind: str) -> Setting:
        """Return the fastest candidate that agrees with fp32, or that the user asked for."""
        times = self._times(kind)
        for setting in sorted(times, key=lambda one: times[one]):
            if setting.precision in ("fp32", self.fixed.precision) or self._agrees(setting):
                return replace(setting, compile=self.default.compile and kind == "step")
        return self._default(kind)

    def _agrees(self, setting: Setting) -> bool:
        agreement = self.bench.agreement(setting)
        self._row(setting).update(agreement)
        return bool(agreement["agrees"])

    def _time(self, setting: Setting, best: float | None = None) -> float:
        """Return the seconds that an image takes, as known or as measured now."""
        if setting not in self.timings:
            self.timings[setting] = self.bench.time(setting, best)
        seconds = self.timings[setting].seconds
        self._row(setting)["milliseconds_per_image"] = round(1000 * seconds, 2)
        return seconds

    def _row(self, setting: Setting) -> dict[str, Any]:
        for row in self.rows:
            if row.items() >= asdict(setting).items():
                return row
        self.rows.append(asdict(setting))
        return self.rows[-1]

    def _fails(self, setting: Setting, error: Exception) -> None:
        self._row(setting)["fails"] = _line(error)

    def _in_time(self, setting: Setting, slower: float = 1.0) -> bool:
        """Tell whether there is time left to try a setting: three passes, as long as in fp32, or that much longer."""
        needed = 3 * self.bench.images * self.timings[self._plain(setting.kind)].seconds * slower
        good = time.perf_counter() - self.begun + needed <= self.limit
        if not good:
            self._row(setting)["fails"] = "no time left to try it"
        return good

    def _try_threads(self) -> None:
        """Settle on one thread or one a core, first of all: where others compute too, two threads on two cores can be
        a hundred times slower than one, for each waits for the other in a loop. Forward passes tell, and are short."""
        if self.bench.device.type != "cpu" or self.fixed.threads or "OMP_NUM_THREADS" in os.environ:
            return
        plain = self._plain("forward")
        self.tried = {self.threads: self._time(plain)}
        for setting in (replace(plain, threads=threads) for threads in {1, cores()} - {self.threads}):
            if setting in self.timings or self._in_time(setting, max(1.0, self.threads / setting.threads)):
                self.tried[setting.threads] = self._time(setting)
        self.threads = min(sorted(self.tried), key=lambda threads: self.tried[threads])
        self._predicted(self._time)  # with these threads, for what is compared with it

    def _crew(self, best: Setting) -> tuple[int, int]:
        """Return (threads, workers) for a run whose passes compute as the best ones."""
        unit = self._time(replace(best, compile=False)) / self.tried[self.threads]
        self.decode = decode = decoding(self.work.decode, count(self.work.batch), max(1, self.job.recipe.epochs))
        self.notes.append(f"decoding takes {1000 * decode:.2f} ms a sample")
        passes = {threads: unit * each for threads, each in self.tried.items()}
        workers = self.fixed.workers if can_hand_over() else 0
        return crew(passes, decode, workers, self.bench.device.type == "cpu")

    def _compile_pays(self, step: Setting) -> bool:
        """Tell whether torch.compile shortens the run, its first step counted; tried where half the time would, unless
        targets are a list: such have other shapes in every batch."""
        each, compiled = self._time(step), replace(step, compile=True)
        plain = min(each * self.work.steps, self.job.recipe.seconds or math.inf)
        images = plain / each
        if isinstance(self.work.batch[1], list) or (compiled not in self.timings and plain * SHARE < COMPILING):
            return False
        try:
            each = self._time(compiled)
            return self._agrees(compiled) and self.timings[compiled].first + each * images < plain
        except Exception as error:  # the compiler's own, of many kinds; or there is no C++ compiler
            self._fails(compiled, error)
            return False


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:100]
