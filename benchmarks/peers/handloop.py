"""The loop that one writes by hand, with the settings of PyTorch's tutorial of transfer learning.

https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html: SGD with rate 1e-3 and momentum 0.9, a
tenth of it every 7 epochs, random resized crops and flips, four loader processes, a validation pass after each epoch.
With --frozen only the new head trains, and as there the whole network stays in train mode, norms included. Not as
there: the batch is that of all systems here, preprocessing is the model's own, and it is the last state that counts.
"""

from __future__ import annotations

import common
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder


def loaders(given: common.argparse.Namespace) -> dict[str, DataLoader]:
    own = common.settings(given.model, given.size)
    mode = transforms.InterpolationMode(own["interpolation"])
    tensor = [transforms.ToTensor(), transforms.Normalize(own["mean"], own["std"])]
    crops = {
        "train": [transforms.RandomResizedCrop(given.size, interpolation=mode), transforms.RandomHorizontalFlip()],
        "val": [
            transforms.Resize(int(given.size / own["crop_pct"]), interpolation=mode),
            transforms.CenterCrop(given.size),
        ],
    }
    workers = 4 if given.workers < 0 else given.workers
    return {
        part: DataLoader(
            ImageFolder(str(given.data / part), transforms.Compose([*crop, *tensor])),
            batch_size=common.BATCH,
            shuffle=True,
            num_workers=workers,
        )
        for part, crop in crops.items()
    }


def fit(model: nn.Module, data: dict[str, DataLoader], epochs: int, device: torch.device) -> common.Clock:
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    clock = common.Clock()
    for _ in range(epochs):
        for part in ("train", "val"):
            model.train(part == "train")
            if part == "train":
                clock.epoch()
            right = 0
            for inputs, labels in data[part]:
                inputs, labels = inputs.to(device), labels.to(device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(part == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if part == "train":
                        loss.backward()
                        optimizer.step()
                right += int((outputs.argmax(1) == labels).sum())
            if part == "train":
                scheduler.step()
                clock.trained(len(data[part].dataset))
            else:
                clock.validated(right / len(data[part].dataset))
    clock.stop()
    return clock


def main() -> None:
    given = common.options(__doc__)
    torch.manual_seed(given.seed)
    data = loaders(given)
    model = timm.create_model(given.model, pretrained=True, num_classes=len(data["train"].dataset.classes))
    if given.frozen:
        head = {id(p) for p in model.get_classifier().parameters()}
        for parameter in model.parameters():
            parameter.requires_grad = id(parameter) in head
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = fit(model.to(device), data, given.epochs, device)
    common.show("handloop", [], given, clock, accuracy=common.accuracy(model, given))


if __name__ == "__main__":
    main()
