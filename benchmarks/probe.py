"""How the head is best solved on features that stand still: decay, views, scale, smoothing, or AdamW in its place.

    python benchmarks/probe.py --data cells/ drawings/ ... [--model pip:efficientnet_lite0] [--size 160] [--train 192]

Folders are those of benchmarks/datasets.py; the pictures of all their parts are put together. The features of each are
computed once and kept in --cache. Then --seeds times so many are drawn to train on, each class in its proportion, and
the head is measured on all the others: seconds a seed, so that differences of half a point show. Prints the accuracy
in per cent, a row a way, and the mean difference to the first row with its 95 % interval over sets and seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import torch
from machine import processor
from rich.console import Console
from rich.table import Table
from scipy.stats import t
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hubft.families import plugins
from hubft.images import decode, transforms
from hubft.job import Reference
from hubft.train import probe

VIEWS = 3  # augmented ones, besides the evaluation's
FIRST = "one standard error"  # what the others are compared with
DECAYS = (10.0, 10**0.5, 1.0, *probe.DECAYS)  # stronger ones too
Line = dict[str, object]


def features(data: Path, reference: str, size: int, cache: Path) -> tuple[Tensor, Tensor]:
    """Return what the head gets of every picture, float32 `[1 + VIEWS, n, width]`, and its class, int64 `[n]`.

    The first view is the evaluation's, the others are those of `--augment light`.
    """
    paths = sorted(data.glob("*/*/*"), key=lambda path: (path.parent.name, path.name))
    classes = sorted({path.parent.name for path in paths})
    targets = torch.tensor([classes.index(path.parent.name) for path in paths])
    name = hashlib.sha256(repr((reference, size, VIEWS, [path.name for path in paths])).encode()).hexdigest()[:16]
    kept = cache / f"{data.name}-{size}-{name}.pt"
    if not kept.exists():
        given = Reference.parse(reference)
        loaded = plugins.manager(given.family).hook.load(name=given.name, pretrained=True, config={}, task="")
        preprocess = loaded.preprocess.at_size(size)
        ways = [transforms.evaluation(preprocess), *[transforms.training(preprocess, "light")] * VIEWS]
        model = loaded.model.eval().to(memory_format=torch.channels_last)
        seen: list[Tensor] = []
        model.get_submodule(loaded.head).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
        torch.manual_seed(0)
        views = []
        with torch.inference_mode():
            for way in ways:
                seen.clear()
                for part in range(0, len(paths), 32):
                    model(torch.stack([way(decode.decode(path)) for path in paths[part : part + 32]]))
                views.append(torch.cat(seen))
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(torch.stack(views), kept)
    return torch.load(kept), targets


def path(
    rows: Tensor, targets: Tensor, folds: Tensor, test: Tensor, smoothing: float = 0.0, views: int = 1
) -> list[Line]:
    """Return for every decay the loss on images held out, its standard error, and what the test images come out as.

    With several views of each image, one after the other, the first is what is held out.
    """
    scale = rows.square().mean().item()
    basis = torch.linalg.svd(rows, full_matrices=False)[2].T  # the minimum lies in it: nothing is lost, and time won
    rows, test = rows @ basis, test @ basis
    heads = {fold: blank(rows, targets) for fold in (*folds.unique().tolist(), -1)}
    first = torch.arange(len(targets)) < len(targets) // views
    found = []
    for decay in DECAYS:
        losses = []
        for fold, head in heads.items():
            rest, held = (folds != fold) | (fold < 0), (folds == fold) & first
            fit(head, rows[rest], targets[rest], decay * scale, smoothing)
            if fold >= 0:
                with torch.no_grad():
                    losses.append(cross_entropy(head(rows[held]), targets[held], reduction="none"))
        loss = torch.cat(losses)
        with torch.no_grad():
            outputs = heads[-1](test)
        error = loss.std().item() / len(loss) ** 0.5
        found.append({"decay": decay, "loss": loss.mean().item(), "error": error, "outputs": outputs})
    return found


def blank(rows: Tensor, targets: Tensor) -> nn.Linear:
    """Return a head of zeros."""
    head = nn.Linear(rows.shape[1], int(targets.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def fit(head: nn.Linear, rows: Tensor, targets: Tensor, decay: float, smoothing: float) -> None:
    """Go on from where the head is to the minimum, as `hubft.train.probe` does."""
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=200, tolerance_grad=1e-4, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(head(rows), targets, label_smoothing=smoothing) + decay / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def adamw(views: Tensor, targets: Tensor, test: Tensor, rate: float, epochs: int = 10, batch: int = 32) -> Tensor:
    """Return the test images' outputs of a head trained by AdamW, the rate falling in half a cosine."""
    head = blank(views[0], targets)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.05)
    steps = epochs * -(-len(targets) // batch)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        for index in torch.randperm(len(targets)).split(batch):
            optimizer.zero_grad()
            cross_entropy(head(views[epoch % len(views)][index]), targets[index]).backward()
            optimizer.step()
            falling.step()
    with torch.no_grad():
        return head(test)


def ways(views: Tensor, targets: Tensor, train: Tensor, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the name of every way to solve the head, and the share of the test images that it gets right."""
    held = torch.ones(len(targets), dtype=torch.bool)
    held[train] = False
    its, wanted, test = targets[train], targets[held], views[0][held]
    plain = views[0][train]

    def right(outputs: Tensor) -> float:
        return (outputs.argmax(1) == wanted).float().mean().item()

    folds = probe._folds(its.tolist(), seed)
    tried = path(plain, its, folds, test)
    yield "one standard error, stronger decays too", right(within(tried, 1.0)["outputs"])
    yield "lowest held-out loss, stronger decays too", right(within(tried, 0.0)["outputs"])
    for one in tried[:3]:
        yield f"decay {one['decay']:.1e}", right(one["outputs"])
    tried = tried[-len(probe.DECAYS) :]
    yield FIRST, right(within(tried, 1.0)["outputs"])
    yield "lowest held-out loss", right(within(tried, 0.0)["outputs"])
    yield "a decay weaker than that", right(tried[min(tried.index(within(tried, 0.0)) + 1, len(tried) - 1)]["outputs"])
    for one in tried[::2]:
        yield f"decay {one['decay']:.1e}", right(one["outputs"])
    yield "best decay, chosen on the test images", max(right(one["outputs"]) for one in tried)
    middle, spread = plain.mean(0), plain.std(0) + 1e-3
    for name, width in (("centred", torch.ones_like(spread)), ("centred and scaled", spread)):
        tried = path((plain - middle) / width, its, folds, (test - middle) / width)
        yield f"{name}, lowest loss", right(within(tried, 0.0)["outputs"])
    tried = path(plain, its, folds, test, smoothing=0.1)
    yield "smoothing 0.1, lowest loss", right(within(tried, 0.0)["outputs"])
    for number in (2, 4):
        tried = path(views[:number, train].flatten(0, 1), its.repeat(number), folds.repeat(number), test, views=number)
        yield f"{number} views, one standard error", right(within(tried, 1.0)["outputs"])
        yield f"{number} views, lowest held-out loss", right(within(tried, 0.0)["outputs"])
    for rate in (1e-3, 3e-3, 1e-2):
        for number in (1, 4):
            torch.manual_seed(seed)
            outputs = adamw(views[:number, train], its, test, rate)
            yield f"AdamW, ten epochs at {rate:g}, {number} view{'s' * (number > 1)}", right(outputs)


def within(tried: list[Line], errors: float) -> Line:
    """Return the strongest decay whose held-out loss is within so many standard errors of the lowest."""
    lowest = min(tried, key=lambda one: one["loss"])
    return next(one for one in tried if one["loss"] <= lowest["loss"] + errors * lowest["error"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="pip:efficientnet_lite0")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--train", type=int, default=192)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "hubft" / "datasets" / "features")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "probe.jsonl")
    given = parser.parse_args()
    lines = [json.loads(text) for text in given.out.read_text("utf-8").splitlines()] if given.out.exists() else []
    for data in given.data:
        views, targets = features(data, given.model, given.size, given.cache)
        for seed in range(given.seeds):
            key = {"data": data.name, "model": given.model, "size": given.size, "train": given.train, "seed": seed}
            if any(key.items() <= line.items() for line in lines):
                continue
            train, _ = train_test_split(
                torch.arange(len(targets)).numpy(), train_size=given.train, stratify=targets, random_state=seed
            )
            line = key | {"right": dict(ways(views, targets, torch.from_numpy(train), seed))}
            lines.append(line)
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(data.name, seed, flush=True)
    if lines:
        Console(width=160).print(table(lines))


def table(lines: list[Line]) -> Table:
    """Return a row a way; a column a set, size and number of training images."""
    cells = sorted({(line["data"], line["size"], line["train"]) for line in lines})
    shown = Table(title=f"right of images unseen, % ({processor()})", title_justify="left")
    for name in ("way", *(f"{data} {size}, {train}" for data, size, train in cells), "to the first, 95 %"):
        shown.add_column(name, justify="left" if name == "way" else "right")
    for way in lines[0]["right"]:
        by = {
            cell: [one["right"] for one in lines if (one["data"], one["size"], one["train"]) == cell] for cell in cells
        }
        differences = [mean(100 * (one[way] - one[FIRST]) for one in its) for its in by.values()]
        spread = t.ppf(0.975, len(cells) - 1) * stdev(differences) / len(cells) ** 0.5 if len(cells) > 1 else 0.0
        shares = [f"{mean(100 * one[way] for one in its):.1f}" for its in by.values()]
        shown.add_row(way, *shares, f"{mean(differences):+.2f} ± {spread:.2f}")
    return shown


if __name__ == "__main__":
    main()
