"""Copies of a model: in the process, and sent to another one."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from torch import nn

from hubft.hookspecs import call
from hubft.testing import worker
from hubft.testing.heads import head_fits_the_task
from hubft.testing.loading import eval_is_deterministic
from hubft.testing.subject import Subject, compute, copied, differing, expect, in_process, last_line, noise, shown
from hubft.testing.trial import check


@check(head_fits_the_task, eval_is_deterministic)
def deepcopy_computes_the_same(subject: Subject) -> None:
    """A deep copy gives equal logits, and shares no tensor with its model."""
    loaded = subject.adapted()
    inputs = noise(loaded)
    twin = copy.deepcopy(loaded.model)
    wrong = differing(copied(loaded.model), copied(twin))
    expect(not wrong, f"a deep copy has other bits in {shown(wrong)}")
    expect(torch.equal(compute(loaded, inputs), compute(loaded, inputs, twin)), "a deep copy computes something else")
    places = {tensor.data_ptr() for tensor in loaded.model.state_dict().values() if tensor.numel()}
    shared = [name for name, tensor in twin.state_dict().items() if tensor.data_ptr() in places]
    expect(not shared, f"a deep copy shares {shown(shared)} with its model")


@check(head_fits_the_task, eval_is_deterministic)
def new_process_computes_the_same(subject: Subject) -> None:
    """Pickled and sent to a fresh process, the model gives equal logits there.

    That process has no hubft, unless a class of the model, or what calls it, lies in the family's own module, which
    imports it.
    """
    loaded = subject.adapted()
    inputs = noise(loaded)
    wanted = compute(loaded, inputs)
    with tempfile.TemporaryDirectory() as folder:
        sent, given = Path(folder) / "sent", Path(folder) / "given"
        forward = None if loaded.forward is call else loaded.forward
        torch.save((loaded.model, forward, inputs, torch.get_num_threads()), sent)
        allowed = "with-hubft" if forward or _is_own(subject, loaded.model) else "without-hubft"
        done = in_process(worker.__file__, str(sent), str(given), allowed)
        problem = f"a fresh process ({allowed}) cannot use the pickled model: {last_line(done.stderr)}"
        expect(not done.returncode, problem)
        same = torch.equal(torch.load(given, weights_only=True), wanted)
    expect(same, "in a fresh process the model gives other logits")


def _is_own(subject: Subject, model: nn.Module) -> bool:
    """Tell whether a class of the model lies beside the family's hooks, in a module that imports hubft."""
    plugins = subject.pm.get_plugins()  # that of a family on which it stands among them
    names = (getattr(plugin, "__module__", getattr(plugin, "__name__", "")) for plugin in plugins)
    own = {str(name).partition(".")[0] for name in names} - {"hubft"}
    return any(type(module).__module__.partition(".")[0] in own for module in model.modules())


CHECKS = (deepcopy_computes_the_same, new_process_computes_the_same)
