"""A state is put back as it was, also into a model that asks for the version of what it loads."""

import pytest
import torch
from torchvision.models import mnasnet0_5

from hubft.train import states


def test_a_state_is_put_back_into_a_model_that_asks_for_versions() -> None:
    model = mnasnet0_5(num_classes=2)
    before = states.kept(model)
    with pytest.raises(ValueError, match="version"):
        model.load_state_dict(before)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    states.put(model, before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
