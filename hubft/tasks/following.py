"""The loss of tokens that follow, and what evaluation keeps of it: a row a document, not a number for each word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from hubft.tasks.losses import MISSING, Loss

KEPT = ("loss", "tokens", "hits")
"""Of a document: the sum of the losses of its learned tokens in nats, how many there are, and how many of them are the
likeliest by the model."""


def padded(followed: Sequence[Tensor], length: int = 0) -> Tensor:
    """Return what follows in some documents, int64 `[tokens]` each, as `[n, longest]`, at least so long."""
    found = pad_sequence(list(followed), batch_first=True, padding_value=MISSING)
    return functional.pad(found, (0, max(0, length - found.shape[1])), value=MISSING)


class Following(Loss):
    """Cross entropy of the learned tokens, a mean over all of them: a long document counts for more than a short one.

    Over the parts of a batch it is the mean over the tokens of the whole batch, as if it were computed at once: a mean
    of the parts' means would give the tokens of short documents more weight
    (https://github.com/huggingface/transformers/issues/34191).
    """

    def forward(self, outputs: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """Return the mean; 0 where nothing is learned.

        :param outputs: logits of the next token, `[n, tokens, vocabulary]`.
        :param targets: of each document what follows each token, int64 `[its tokens]`, MISSING where not learned.
        """
        followed = padded(targets, outputs.shape[1])
        there = followed != MISSING
        total = there.sum().clamp(min=1) if self.total is None else self.total
        return functional.cross_entropy(outputs[there].float(), followed[there], reduction="sum") / total

    def losses(self, outputs: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """Return the loss of each token, `[n, tokens]`; 0 where it is not learned."""
        followed = padded(targets, outputs.shape[1])
        return functional.cross_entropy(outputs.float().transpose(1, 2), followed, reduction="none")

    def weights(self, targets: Sequence[Tensor]) -> Tensor:
        """Return 1 for each token that is learned, `[n, longest]`."""
        return (padded(targets) != MISSING).float()


def kept(outputs: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Return what `KEPT` names of each document, float32 `[n, 3]`; the parameters are those of `Following`."""
    followed = padded(targets, outputs.shape[1])
    there = followed != MISSING
    logits, wanted = outputs[there].float(), followed[there]
    each = torch.stack(
        [
            functional.cross_entropy(logits, wanted, reduction="none"),
            torch.ones(len(wanted), device=logits.device),
            (logits.argmax(1) == wanted).float(),
        ],
        1,
    )
    rows = there.nonzero()[:, 0]
    return each.new_zeros(len(followed), len(KEPT)).index_add(0, rows, each)
