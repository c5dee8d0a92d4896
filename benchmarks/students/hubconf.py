"""Models for benchmarks/distill.py and deploy.py: of timm, with random weights, always the same."""

import timm
import torch

dependencies = ["timm", "torch"]


def student(name, seed=0, size=0):
    """Return a model of timm that was never trained; `size` is that of its images, where it must be told."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=10, **({"img_size": size} if size else {}))
