"""Evaluations of any number of samples by the processes that torchrun started, each beside that of one process."""

import torch
import toy_family

from hubft.families import plugins
from hubft.job import Compute
from hubft.machine.ranks import joining
from hubft.machine.runtime import Runtime
from hubft.tasks.classification import Classification
from hubft.train import loop


def main() -> None:
    pm, loaded = plugins.manager("toy"), toy_family.load("small", True)
    task, compute = Classification(tuple("abcdefghij")), Compute("cpu", workers=0)
    with joining() as ranks, torch.random.fork_rng():
        for samples in range(1, 14):
            torch.manual_seed(samples)
            images, labels = torch.rand(samples, 3, 32, 32), torch.arange(samples) % 10
            batches = list(zip(images.split(3), labels.split(3), strict=True))
            ours, theirs = (
                loop.evaluate(pm, loaded, task, iter(batches), Runtime(compute, *its)) for its in ((ranks,), ())
            )
            assert all(map(torch.equal, ours, theirs)) and len(ours[0]) == samples, samples
            told = ranks.told(task.measure(*ours).plain())
            assert told == [task.measure(*theirs).plain()] * ranks.world
        if ranks.first:
            print(f"equal on {ranks.world}")


if __name__ == "__main__":
    main()
