"""hubft from Python: the commands as functions, with the names and defaults of the command line.

import hubft

result = hubft.finetune("timm:resnet18.a1_in1k", "flowers/", epochs=4)
hubft.evaluate(result.package, "more_flowers/").metrics
hubft.predict(result.package, ["rose.jpg"])

A function is called as its command is; `hubft data` is `inspect_data` and `hubft report` is `write_report`, since
`hubft.data` and `hubft.report` are rooms of the package. A command and its function call the same room below.
"""

from hubft.api.asked import job
from hubft.api.choosing import lr_find, rank, sweep
from hubft.api.data import features, inspect_data
from hubft.api.packages import evaluate, predict
from hubft.api.reports import compare, track, write_report
from hubft.api.runs import Result, distill, finetune, resume, soup
from hubft.choosing.lr_find import Rate
from hubft.choosing.rank import Ranking
from hubft.choosing.swept import Swept
from hubft.options import LookOptions, Options, RankOptions, fields
from hubft.report.again import Page
from hubft.report.compare import Side
from hubft.run.inspecting import Inspection
from hubft.run.vectors import Features
from hubft.share.inference import Evaluation
from hubft.share.load import load
from hubft.share.opened import Answer
from hubft.tracking.delivery import Tracked

__all__ = [
    "Answer",
    "Evaluation",
    "Features",
    "Inspection",
    "LookOptions",
    "Options",
    "Page",
    "RankOptions",
    "Ranking",
    "Rate",
    "Result",
    "Side",
    "Swept",
    "Tracked",
    "compare",
    "distill",
    "evaluate",
    "features",
    "fields",
    "finetune",
    "inspect_data",
    "job",
    "load",
    "lr_find",
    "predict",
    "rank",
    "resume",
    "soup",
    "sweep",
    "track",
    "write_report",
]
