"""`hubft demo`: the main path on data and weights that come with pip, no hub needed."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits

from hubft import engine
from hubft.base.console import Console
from hubft.base.errors import HubftError, JobError
from hubft.base.files import marked, writing
from hubft.data import asked
from hubft.families.plugins import ROOT
from hubft.images.rgb import rgb
from hubft.job import Job, Recipe
from hubft.share import load

REFERENCE = "pip:efficientnet_lite0"
RECIPE = Recipe(epochs=3)


def run(output: Path, console: Console) -> None:
    """Fine-tune an ImageNet model on handwritten digits, package it, load it with torch.hub, compare the logits.

    The digits are the 1,797 of scikit-learn's `load_digits` (8 x 8 pixels; Alpaydin and Kaynak 1998,
    https://archive.ics.uci.edu/dataset/80); a fifth of each class is held out.

    :raises JobError: `output` exists.
    """
    if output.exists():
        raise JobError(f"{str(output)!r} exists: remove it, or give another --output")
    with writing(output, f"make room, remove {output}, and type it again, or give another --output"):
        digits = _write_digits(marked(output) / "digits")
    job = Job(REFERENCE, str(digits), size=48, recipe=RECIPE, output=str(output / "run"))
    result = engine.finetune(job, console)
    console.say(f"{result.metrics} on held-out digits")
    _agree(result.run.package, digits, console)
    console.say("Try next, with your own images in flowers/CLASS/*.jpg:")
    console.say("    hubft finetune timm:resnet18.a1_in1k flowers/ --train last:2")
    console.say(f"    hubft show {REFERENCE}")
    console.say(f"    hubft predict {result.run.folder} {digits / '7'}")


def _write_digits(folder: Path) -> Path:
    images, labels = load_digits(return_X_y=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.reshape(8, 8) * 255 / 16).astype("uint8")).save(path)
    return folder


def _agree(package: Path, digits: Path, console: Console) -> None:
    """Load the package as a stranger would, through torch.hub, and compare its logits with our own loading."""
    ours = load.load(str(package))
    if not (ROOT / "hubconf.py").exists():
        console.say("this hubft is installed without its hubconf.py: torch.hub would load the package from a checkout")
        return
    theirs = torch.hub.load(str(ROOT), "finetuned", str(package), source="local")
    pictures = asked.pictures([digits / "3", digits / "8"]).files[:32]
    with torch.inference_mode():
        batch = torch.stack([theirs.preprocess(rgb(Image.open(path))) for path in pictures])
        difference = float((ours(batch) - theirs(batch)).abs().max())
    console.say(f"torch.hub.load({str(ROOT)!r}, 'finetuned', {str(package)!r}, source='local')")
    console.say(f"    gives a {type(theirs).__name__} whose logits differ by {difference} from those of the run")
    if difference:
        raise HubftError("the package does not give the logits of the run")
