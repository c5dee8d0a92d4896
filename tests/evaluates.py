"""Evaluations of any number of samples by the processes that torchrun started, each beside that of one process."""

from dataclasses import replace

import torch
import toy_family
from torch import Tensor, nn

from hubft.families import plugins
from hubft.job import Compute
from hubft.machine.ranks import joining
from hubft.machine.runtime import Runtime
from hubft.tasks.boxes import Boxes
from hubft.tasks.classification import Classification
from hubft.train import loop


def found(model: nn.Module, images: Tensor) -> Tensor:
    """Return three boxes of each image: all that they are is drawn in its pixels."""
    boxes = images.flatten(1)[:, :18].unflatten(1, (3, 6)).sort(1, descending=True)[0]
    return boxes * torch.tensor([0, 0, 1, 1, 1, 2]) + torch.tensor([0, 0, 1, 1, 0, 0])


def main() -> None:
    pm, loaded = plugins.manager("toy"), toy_family.load("small", True)
    tags, boxes, compute = Classification(tuple("abcdefghij")), Boxes(("a", "b")), Compute("cpu", workers=0)
    with joining() as ranks, torch.random.fork_rng():
        for samples in range(1, 14):
            torch.manual_seed(samples)
            images, labels = torch.rand(samples, 3, 32, 32), torch.arange(samples) % 10
            truth = boxes.collate([[(i % 2, 0.0, 0.0, 1.5, 1.5, False)] * (i % 3) for i in range(samples)])
            for task, model, targets in (
                (tags, loaded, labels),
                (boxes, replace(loaded, forward=found), truth),
            ):
                batches = [(images[i : i + 3], targets[i : i + 3]) for i in range(0, samples, 3)]
                ours, theirs = (
                    loop.evaluate(pm, model, task, iter(batches), Runtime(compute, *its)) for its in ((ranks,), ())
                )
                assert len(ours[0]) == samples and torch.equal(ours[0], theirs[0]), samples
                told = ranks.told((repr(ours[1]), float(task.criterion()(*ours))))
                assert told == [(repr(targets), float(task.criterion()(*theirs)))] * ranks.world, samples
        if ranks.first:
            print(f"equal on {ranks.world}")


if __name__ == "__main__":
    main()
