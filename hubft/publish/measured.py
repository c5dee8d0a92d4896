"""What a package states of its metrics: read with suspicion, and put in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from hubft import modality
from hubft.publish.manifest import Manifest
from hubft.tasks.metrics import Measured, Metrics, number, title

WHOLE = ("exact_match", "choice_accuracy")  # of documents
SHARES = ("accuracy", "balanced_accuracy", "top_5", "recall", "precision", "token_accuracy", *WHOLE)
"""What is stated in percent."""
MOST = 200  # numbers that a package can state


def of(data: object) -> Metrics | None:
    """Return the metrics that plain data states, perhaps a stranger's; None where it states no headline.

    What is no number with an interval around it is left out.
    """
    facts = data if isinstance(data, Mapping) else {}
    values = {}
    for name, one in list(facts.items())[: 2 * MOST]:
        if isinstance(name, str) and (measured := one_of(name, one)):
            values[name] = measured
    headline = facts.get("headline", "accuracy")
    if not isinstance(headline, str) or headline not in values:
        return None
    loss = facts.get("loss")
    return Metrics(headline, values, float(loss) if _finite(loss) else math.nan)


def one_of(name: str, data: object) -> Measured | None:
    """Return the number that plain data states of a metric, or None where it is none that this can have."""
    if not isinstance(data, Mapping):
        return None
    value, low, high, n = (data.get(key) for key in ("value", "low", "high", "n"))
    better = data.get("better", "higher")
    if name in SHARES and not all(one is None or (_finite(one) and 0 <= one <= 1) for one in (value, low, high)):
        return None
    if not _finite(value) or type(n) is not int or not 0 <= n < 10**12 or better not in ("higher", "lower"):
        return None
    if low is None and high is None:
        return Measured(value, None, None, n, better)
    return Measured(value, low, high, n, better) if _finite(low) and _finite(high) and low <= high else None


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # False for NaN


def in_words(name: str, measured: Measured, what: str) -> str:
    """Return `93.1 % (95 % interval 90.2 to 95.3 %, 420 images)`, or numbers where it is no share.

    :param what: was measured, in the plural.
    """
    value, low, high = measured.value, measured.low, measured.high
    share = name in SHARES and 0 <= value <= 1
    shown = f"{100 * value:.1f} %" if share else number(value)
    if low is None or high is None:
        return f"{shown} ({measured.n} {what})"
    interval = f"{100 * low:.1f} to {100 * high:.1f} %" if share else f"{number(low)} to {number(high)}"
    return f"{shown} (95 % interval {interval}, {measured.n} {what})"


def headline(manifest: Manifest) -> str:
    """Return `accuracy 93.1 % (95 % interval ...)` of a package, or nothing where it states none."""
    metrics, many = of(manifest.metrics), f"{modality.of(manifest.inputs).word}s"
    return f"{title(metrics.headline)} {in_words(metrics.headline, metrics.head, many)}" if metrics else ""


def listed(details: Mapping[str, Any], names: int) -> dict[str, list[Measured | None]]:
    """Return what is stated of each name, by the name of the metric: lists as long as there are names."""
    found = {}
    for name, many in list(details.items())[: 2 * MOST]:
        if isinstance(name, str) and isinstance(many, list) and len(many) == names:
            measured = [one_of(name, one) for one in many]
            if any(measured):
                found[name] = measured
    return found
