"""What a model reached on samples that it was not trained on: numbers, each with its interval and its direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

RESAMPLES = 200  # of a bootstrap: the ends of a 95 % interval are then known to about a tenth of its length
TITLES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "mean_average_precision": "mean average precision",
    "f1": "F1",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_samples": "sample F1",
    "mae": "MAE",
    "map": "mAP 50:95",
    "map_50": "mAP 50",
    "map_75": "mAP 75",
    "mar_100": "mean average recall",
    "mean_of_heads": "mean of the heads' headlines",
    "r2": "R2",
    "rmse": "RMSE",
    "spearman": "Spearman",
    "top_5": "top-5 accuracy",
}


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval."""

    value: float
    low: float | None = None
    """None where no interval was asked for, or none can be had."""
    high: float | None = None
    n: int = 0
    """Samples, or labels, that it was measured on."""
    better: Literal["higher", "lower"] = "higher"

    @property
    def tells(self) -> bool:
        """Whether its interval leaves out zero: of a difference, whether it is told from nothing."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def beats(self, other: Measured) -> bool:
        """Tell whether this is the better number."""
        return self.value > other.value if self.better == "higher" else self.value < other.value

    def __str__(self) -> str:
        """Return `0.948 [0.901, 0.974]`, in four digits where the number is large."""
        interval = "" if self.low is None or self.high is None else f" [{number(self.low)}, {number(self.high)}]"
        return f"{number(self.value)}{interval}"


@dataclass(frozen=True)
class Metrics:
    """All that was measured on some samples."""

    headline: str
    """Name of the one number by which models are compared."""
    values: Mapping[str, Measured]
    loss: float
    """Of the task's plain loss: mean over the labels that are there."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further facts, JSON types: of each class, a matrix."""

    @property
    def head(self) -> Measured:
        """The headline's number."""
        return self.values[self.headline]

    def __str__(self) -> str:
        """Return the headline: `accuracy 0.948 [0.901, 0.974]`."""
        return f"{title(self.headline)} {self.head}"

    def plain(self) -> dict[str, Any]:
        """Return it as one object of JSON types, each number under its name; `read` is the reverse."""
        values = {name: asdict(measured) for name, measured in self.values.items()}
        return {"headline": self.headline, **values, "loss": self.loss, **self.details}

    def public(self) -> dict[str, Any]:
        """Return `plain` without what is of single samples, for a package."""
        found: dict[str, Any] = _without_points(self.plain())
        return found


def _without_points(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_points(inner) for key, inner in value.items() if key != "points"}
    return [_without_points(inner) for inner in value] if isinstance(value, list) else value


def read(data: Mapping[str, Any]) -> Metrics:
    """Return the metrics that `plain` gave; those of schema 1 have accuracy as their headline."""
    values = {name: Measured(**one) for name, one in data.items() if isinstance(one, Mapping) and "value" in one}
    others = {name: one for name, one in data.items() if name not in values and name not in ("headline", "loss")}
    return Metrics(data.get("headline", "accuracy"), values, data["loss"], others)


def title(name: str) -> str:
    """Return the name of a metric as people write it; what stands before `: ` is the name of a head."""
    head, colon, metric = name.rpartition(": ")
    return head + colon + TITLES.get(metric, metric.replace("_", " "))


def number(value: float) -> str:
    """Return a number for people: three decimals, or four digits where it is large or small."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 100 else f"{value:.4g}"


def proportion(hits: int, n: int) -> Measured:
    """Return a share with its 95 % Wilson score interval (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    from scipy.stats import binomtest  # not at the top: whoever loads a package need not have scipy

    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return Measured(hits / n, float(interval.low), float(interval.high), n)


Statistic: TypeAlias = "Callable[[NDArray[numpy.float64]], float]"
"""Of how often each sample counts, float64 `[n]`; NaN where it is not defined for that."""
Statistics: TypeAlias = "Callable[[NDArray[numpy.float64]], NDArray[Any]]"
"""Several of them, `[k]`."""


def bootstrap(statistic: Statistic, n: int, *, better: Literal["higher", "lower"] = "higher") -> Measured:
    """Return a statistic of n samples with its 95 % percentile interval (Efron and Tibshirani 1993, chapter 13).

    The resamples are the same for every statistic of n samples, and from one call to the next.
    """
    import numpy  # not at the top: what the command line prints needs none

    (found,) = bootstraps(lambda counts: numpy.array([statistic(counts)]), n)
    return replace(found, better=better)


def bootstraps(statistics: Statistics, n: int, *, resamples: int = RESAMPLES) -> list[Measured]:
    """Return several statistics of n samples with their intervals, as `bootstrap` does for one."""
    import numpy

    values = statistics(numpy.ones(n))
    drawn = resampled(statistics, n, resamples)
    return [_between(float(value), column, n) for value, column in zip(values, drawn.T, strict=True)]


def resampled(statistics: Statistic | Statistics, n: int, resamples: int) -> NDArray[Any]:
    """Return what one or several statistics of n samples are in each of some resamples, a row each."""
    import numpy

    random, chances = numpy.random.default_rng(0), numpy.full(n, 1 / n)
    return numpy.array([statistics(random.multinomial(n, chances).astype(float)) for _ in range(resamples)])


def _between(value: float, drawn: NDArray[Any], n: int) -> Measured:
    import numpy

    known = drawn[numpy.isfinite(drawn)]
    if len(known) < len(drawn) / 2 or not len(known):
        return Measured(value, None, None, n)
    low, high = numpy.quantile(known, (0.025, 0.975))
    # What is biased in resamples, as an error of calibration is, may lie outside of them: the interval holds it.
    return Measured(value, min(float(low), value), max(float(high), value), n)


def affordable(cells: int) -> int:
    """Return how many resamples of so many numbers take seconds, not minutes: RESAMPLES of a million, 50 at least."""
    return max(50, min(RESAMPLES, 200_000_000 // max(1, cells)))
