"""How long models take for a batch, side by side: calls of all in turn, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy
import torch

from hubft import modality
from hubft.hookspecs import Loaded
from hubft.machine.runtime import Runtime

WARMUP = 3  # calls of each that do not count: the first allocate, and may compile
MIN_ROUNDS, MAX_ROUNDS = 7, 200


@dataclass(frozen=True)
class Latency:
    """Seconds of wall time for a batch, over some calls."""

    median: float
    low: float
    """A quarter of the calls took less."""
    high: float
    """A quarter of the calls took more."""
    ratio: float
    """Median over the rounds of what the first of the models took, to what this one took: above 1 it is faster."""
    n: int
    """Calls."""


def answering(loaded: Loaded, batch: int, runtime: Runtime | None = None) -> Callable[[], object]:
    """Return what answers one batch of a model, of inputs at their largest sizes.

    :param runtime: where the model lies; without one on the CPU.
    """
    kind = modality.of(loaded.inputs)
    inputs = kind.whole(kind.blank(loaded.inputs, batch), loaded.inputs)
    inputs = runtime.to_device(inputs) if runtime else inputs

    @torch.inference_mode()
    def call() -> object:
        if runtime is None:
            return loaded.forward(loaded.model, inputs)
        with runtime.using_threads():
            outputs = loaded.forward(loaded.model, inputs)
        if runtime.device.type != "cpu":
            torch.accelerator.synchronize(runtime.device)  # its work is only queued yet
        return outputs

    return call


def measure(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Latency]:
    """Return the latency of each call, made in turn, another one first in each round.

    :param calls: name -> what answers one batch; the first is what the others are compared with.
    :param seconds: that the rounds may take together; MIN_ROUNDS are made whatever they take.
    """
    for call in calls.values():
        for _ in range(WARMUP):
            call()
    names, began = list(calls), time.perf_counter()
    rounds: list[dict[str, float]] = []
    while len(rounds) < MIN_ROUNDS or (time.perf_counter() - began < seconds and len(rounds) < MAX_ROUNDS):
        first = len(rounds) % len(names)
        rounds.append({name: _seconds(calls[name]) for name in names[first:] + names[:first]})
    return {name: _of([one[name] for one in rounds], [one[names[0]] for one in rounds]) for name in names}


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _of(taken: list[float], first: list[float]) -> Latency:
    low, median, high = numpy.quantile(taken, (0.25, 0.5, 0.75))
    ratio = numpy.median(numpy.array(first) / numpy.array(taken))
    return Latency(float(median), float(low), float(high), float(ratio), len(taken))
