"""Detectors of torchvision with weights that a test makes, and scenes to train them on."""

import hashlib
import io
import json
from pathlib import Path

import pytest
import scenes
import torch
from torchvision import models

TINY = "ssdlite320_mobilenet_v3_large"


def weights(name: str, home: Path, patch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Put random weights of a detector into a cache of torch.hub, as its default ones, and return them."""
    import _hubft_torchvision_detectors as detectors

    patch.setenv("TORCH_HOME", str(home))
    torch.manual_seed(0)
    state = detectors.built(name, 91).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    file = home / "hub" / "checkpoints" / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(buffer.getvalue())
    patch.setattr(models.get_model_weights(name)["DEFAULT"].value, "url", f"https://nowhere.test/{file.name}")
    return state


def table(folder: Path, count: int, seed: int = 0) -> Path:
    """Write so many scenes and a table of their boxes into a folder; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    made = scenes.made(seed, count)
    rows = []
    for place, (scene, cell) in enumerate(zip(made, scenes.cells(made), strict=True)):
        scene.image.save(folder / f"{place}.png")
        rows.append(json.dumps({"image": f"{place}.png", "boxes": cell}))
    (folder / "boxes.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "boxes.jsonl"
