"""Students for benchmarks/distill.py: small models of timm with random weights, always the same."""

import timm
import torch

dependencies = ["timm", "torch"]


def student(name, seed=0):
    """Return a model of timm that was never trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=10)
