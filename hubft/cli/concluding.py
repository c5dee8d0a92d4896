"""What is printed when a run is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from hubft.base.console import Console
from hubft.base.errors import Incomplete
from hubft.base.files import read_json
from hubft.cli.printing import print_beside, print_metrics

if TYPE_CHECKING:
    from hubft.engine import Result
    from hubft.run.overfit import Overfit

ERRS = 0.1  # mean error on one batch that was learned, above which its evaluation is in doubt


def tell(found: Overfit, console: Console) -> None:
    """Print what training on one batch came to.

    :raises Incomplete: it was not learned; says what may be the reason.
    """
    console.answer({**asdict(found), "learned": found.learned})
    if not found.learned:
        raise Incomplete(f"one batch was not learned: {found}; {found.why}")
    console.say(f"learned  {found}: model and loss can learn")
    if found.error > ERRS:
        console.say(
            f"note: as it is evaluated it errs in {found.error:.0%}: norms or dropout let that differ from training"
        )


def conclude(result: Result, console: Console) -> None:
    """Print what a run reached, where its report and its package are, and what to type next."""
    from hubft import modality
    from hubft.publish import lines
    from hubft.publish import package as packages
    from hubft.tasks.paired import told

    manifest = packages.read(result.run.package, verify=False).manifest
    word = modality.of(manifest.inputs).word
    run = result.run
    places = {"run": str(run.folder), "package": str(run.package), "report": str(run.report)}
    console.answer({**places, **read_json(run.report / "results.json")})
    if result.uncompressed:
        print_metrics(console, result.uncompressed, "before compression", word)
    print_metrics(console, result.metrics, "as packaged", word)
    if result.test:
        print_metrics(console, result.test, "the same on the test part, measured once", word)
    if result.beside:
        print_beside(console, result.metrics, result.beside)
    if result.before:
        console.say(f"before   {result.before}")
    if one := result.beyond.get("probe"):
        console.say(f"trained  the paired difference to its probe is {told(one)}")
    page = result.run.report / "index.html"
    console.say(f"report   {page if page.is_file() else result.run.report}")
    console.say(f"package  {result.run.package}")
    console.say(f"try      {lines.predict(str(result.run.folder), word.upper(), lines.foreign(manifest))}")
