"""A process that was never told of hubft: it unpickles a model that `hubft.testing.copies` sent, and uses it.

    python worker.py SENT GIVEN {with,without}-hubft

Run as a file, never imported for this: what it knows is torch, and what the pickle itself asks for.
"""

import sys
from typing import Any


def main(sent: str, given: str, allowed: str) -> None:
    """Write the logits of the model in the file `sent` to the file `given`."""
    if allowed == "without-hubft":
        sys.modules["hubft"] = None  # type: ignore[assignment]  # an import of it fails
    import torch

    content: Any = torch.load(sent, weights_only=False)  # written a moment ago by the process that started this one
    model, forward, inputs, threads = content
    model.eval()
    torch.set_num_threads(threads)  # other cuts of a sum have other bits
    with torch.no_grad():
        torch.save(forward(model, inputs) if forward else model(inputs), given)


if __name__ == "__main__":
    main(*sys.argv[1:])
