"""Detectors of transformers as files: the boxes come out, as the package itself has them."""

from pathlib import Path

import detectors as made
import packages
import pytest
import torch
from extras import needs

from hubft import Head, Job
from hubft.deploy.export import export
from hubft.deploy.export.asked import Asked
from hubft.tasks.boxes import Boxes

for module in ("onnx", "onnxscript", "onnxruntime"):
    needs(module, "onnx")
needs("transformers", "transformers")
TASK = Boxes(("disc", "square", "triangle"), threshold=0.0)


@pytest.mark.parametrize(("kind", "batch"), [("yolos", 0), ("rt_detr_v2", 1)])
def test_boxes_come_out_of_a_file(kind: str, batch: int, tmp_path: Path) -> None:
    """Also where a model asserts sizes while it is followed, as RT-DETR v2 does."""
    place = made.transformer(tmp_path / kind, kind)
    packages.write(tmp_path / "package", Job(f"transformers:{place}", "-", head=Head(outputs=3)), task=TASK)
    found = export.export(tmp_path / "package", Asked("onnx", output=str(tmp_path / "a.onnx")))
    assert found.about.batch == batch and found.proof.exact is not None and found.proof.exact < 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(str(found.path))
    given = torch.randn(1, 3, 64, 64)
    (boxes,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
    assert boxes.shape == (1, 12, 6) and (boxes[..., 4][:, :-1] >= boxes[..., 4][:, 1:]).all()
