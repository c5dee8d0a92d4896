"""What `hubft data` prints of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from hubft import modality
from hubft.base.console import Console
from hubft.base.display import visible
from hubft.run import facts, looked
from hubft.run.data import Data
from hubft.run.facts import LABEL, MEANINGS, NEAR, NEAR_LEAK, Finding
from hubft.tasks.metrics import number, title

if TYPE_CHECKING:
    from hubft.run.classifiers import Fitted
    from hubft.run.inspecting import Inspection

NAMES, EXAMPLES, WORST = 40, 2, 10  # that are shown: names of a task, texts of each, suspicious samples


def show(console: Console, data: Data) -> None:
    """Print what the reader found: how many samples there are of what, in which part, and how large they are."""
    parts, counts = list(data.parts), facts.counts(data)
    rows: list[list[object]] = [[f"{data.word}s", *map(len, data.parts.values())]]
    rows += [[visible(name, 60), *(its[part] for part in parts)] for name, its in islice(counts.items(), NAMES)]
    console.table(
        ["", *parts], rows, title=f"{sum(map(len, data.parts.values())):,} {data.word}s {data.task.summary()}"
    )
    if len(counts) > NAMES:
        console.say(f"and {len(counts) - NAMES:,} more, in {looked.FACTS}")
    spreads = {name: [its.get(part, "") for part in parts] for name, its in facts.numbers(data).items()}
    _spreads(console, "number", spreads, parts)
    _spreads(console, "size", {what: [one] for what, one in facts.sizes(data).items()}, ["of all"])
    for note in data.notes:
        console.say(f"note: {note}")
    for place, reason in islice(data.quarantined.items(), WORST):
        console.say(f"left out {place!r}: {reason}")
    _examples(console, data)


def _spreads(console: Console, what: str, rows: Mapping[str, Sequence[object]], columns: Sequence[str]) -> None:
    if rows:
        console.table([what, *columns], [[name, *its] for name, its in rows.items()])


def _examples(console: Console, data: Data) -> None:
    """Print a few samples of each name where a line shows them; pictures are on the contact sheet."""
    excerpt = modality.named(data.kind).excerpt
    rows = [
        [name, visible(excerpt(sample), 100)]
        for name, samples in islice(facts.examples(data, EXAMPLES), NAMES)
        for sample in samples[:EXAMPLES]
        if excerpt(sample)
    ]
    if rows:
        console.table(["of", "example"], rows)


def conclude(console: Console, found: Inspection) -> None:
    """Print what was found wrong, the worst of it, and where all of it is."""
    findings, seen, folder = found.findings, found.seen, found.folder
    numbers = Counter(finding.finding for finding in findings)
    if seen.probe:
        told = f"error {seen.probe.error:.1%} where it was held out"
        console.say(f"probe    of {seen.reference}: {told}; on such features labels are judged")
    if numbers:
        console.table(
            ["finding", "number", "meaning"],
            [[kind, numbers[kind], MEANINGS[kind]] for kind in MEANINGS if numbers[kind]],
        )
    else:
        console.say("nothing was found that should be looked at")
    _worst(console, "near-duplicates, the nearest first", [f for f in findings if f.finding in (NEAR, NEAR_LEAK)])
    _worst(console, "suspicious labels, the worst first", [f for f in findings if f.finding == LABEL])
    if seen.left_out:
        console.say(f"note: {seen.left_out}")
    console.say(f"findings {folder / looked.FINDINGS}")
    for name, what in ((looked.FACTS, "facts"), (looked.CONTACT, "pictures")):
        if (folder / name).exists():
            console.say(f"{what:8} {folder / name}")


def _worst(console: Console, what: str, findings: Sequence[Finding]) -> None:
    if findings:
        rows = [[visible(f.place, 80), f.part, f.detail, number(f.score or 0.0)] for f in findings[:WORST]]
        console.table(
            ["place", "part", "detail", "score"],
            rows,
            title=f"{what}: {min(WORST, len(findings))} of {len(findings):,}",
        )


def compared(console: Console, fitted: Sequence[Fitted], word: str) -> None:
    """Print what classifiers reach on validation samples, each called `word`, beside the first one, the probe."""
    headline = title(fitted[0].metrics.headline)
    rows = [[one.name, one.metrics.head, one.difference or "-"] for one in fitted]
    columns = ["classifier", f"{headline}, 95 % interval", "difference to the probe"]
    console.table(columns, rows, title=f"on the validation part: {fitted[0].metrics.head.n:,} {word}s")
