"""The loop that one writes by hand today, for several labels, a number, or several heads on one network.

timm's model whose classifier is reset to one linear head for all outputs; AdamW with weight decay 0.01 and rates 1e-3
for the head and 3e-4 for the rest, warmed up over the first tenth of the steps and then down a cosine to zero; random
resized crops of 75 to 100 % of the area; flips as --flips says; every weight trains and norms see the batch; a
validation pass after each epoch, and the last state counts. Losses: binary cross entropy for labels, the squared error
of numbers in units of their deviation, cross entropy for a class, and their sum for several heads. It predicts by the
evaluation transform of the model's weights.
"""

from __future__ import annotations

import math

import common
import labels_common
import timm
import torch
from labels_common import Table
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

RATE, HEAD_RATE, DECAY, WARM = 3e-4, 1e-3, 0.01, 0.1
FLIPS = {"none": (), "horizontal": (transforms.RandomHorizontalFlip(),)}
FLIPS["both"] = (*FLIPS["horizontal"], transforms.RandomVerticalFlip())


class Rows(Dataset):
    def __init__(self, table: Table, part: str, transform: transforms.Compose) -> None:
        self.rows, self.targets, self.transform = table.parts[part], table.targets, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, n: int) -> tuple[Tensor, list[Tensor]]:
        row = self.rows[n]
        with Image.open(row["image"]) as image:
            inputs = self.transform(image.convert("RGB"))
        return inputs, [torch.tensor(target.encoded(row[target.column])) for target in self.targets]


def loaders(given: common.argparse.Namespace, table: Table) -> dict[str, DataLoader]:
    own = common.settings(given.model, given.size)
    mode = transforms.InterpolationMode(own["interpolation"])
    tensor = [transforms.ToTensor(), transforms.Normalize(own["mean"], own["std"])]
    crop = transforms.RandomResizedCrop(given.size, scale=(0.75, 1.0), interpolation=mode)
    plain = timm.data.create_transform(**own, is_training=False)
    workers = 4 if given.workers < 0 else given.workers
    return {
        part: DataLoader(
            Rows(table, part, transforms.Compose([crop, *FLIPS[given.flips], *tensor]) if part == "train" else plain),
            batch_size=common.BATCH,
            shuffle=part == "train",
            num_workers=workers,
        )
        for part in table.parts
    }


def total(table: Table, outputs: Tensor, targets: list[Tensor]) -> Tensor:
    each = outputs.split([target.outputs for target in table.targets], dim=1)
    return sum(target.loss(out, true) for target, out, true in zip(table.targets, each, targets, strict=True))


def fit(model: nn.Module, data: dict[str, DataLoader], table: Table, epochs: int) -> common.Clock:
    head = {id(p) for p in model.get_classifier().parameters()}
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in head], "lr": RATE},
        {"params": [p for p in model.parameters() if id(p) in head], "lr": HEAD_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    steps = epochs * len(data["train"])
    warm = max(1, round(WARM * steps))

    def share(step: int) -> float:
        return min((step + 1) / warm, (1 + math.cos(math.pi * max(0, step - warm) / max(1, steps - warm))) / 2)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    clock = common.Clock()
    for _ in range(epochs):
        clock.epoch()
        model.train()
        for inputs, targets in data["train"]:
            loss = total(table, model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        clock.trained(len(data["train"].dataset))
        model.eval()
        with torch.inference_mode():
            losses = [float(total(table, model(inputs), targets)) * len(inputs) for inputs, targets in data["val"]]
        clock.validated(loss=sum(losses) / len(data["val"].dataset))
    clock.stop()
    return clock


def main() -> None:
    parser = labels_common.parser(__doc__)
    parser.add_argument("--flips", choices=FLIPS, default="horizontal")
    given = common.read(parser)
    torch.manual_seed(given.seed)
    table = Table(given)
    data = loaders(given, table)
    sizes = [target.outputs for target in table.targets]
    model = timm.create_model(given.model, pretrained=True)
    model.reset_classifier(sum(sizes))  # `num_classes` would draw weights of up to 1 for one output
    clock = fit(model, data, table, given.epochs)
    model.eval()
    with torch.inference_mode():
        outputs = torch.cat([model(inputs) for inputs, _ in data["test"]]).split(sizes, dim=1)
    said = {target.column: target.said(out) for target, out in zip(table.targets, outputs, strict=True)}
    labels_common.show("hand", [], given, clock, said)


if __name__ == "__main__":
    main()
