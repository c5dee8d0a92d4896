"""The loss of tokens that follow, and what evaluation keeps of it: a row a document, not a number for each word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from hubft.tasks.losses import MISSING, Loss

KEPT = ("loss", "tokens", "hits", "chosen")
"""Of a document: the sum of the losses of its learned tokens in nats, how many there are, how many of them are the
likeliest by the model; and 1 where of all its choices the right one is the likeliest, 0 where another is, and UNASKED
where it has none.

The likeliest choice is the one whose tokens have the largest sum of log-likelihoods, the end behind it among them. That
is the `acc` of https://github.com/EleutherAI/lm-evaluation-harness (lm_eval/api/task.py), which leaves the end out. Its
`acc_norm` divides the sum by the characters of the choice; that is not done here, for the end is learned with each
choice and makes it a whole answer.
"""
UNASKED = -1.0


def padded(followed: Sequence[Tensor], length: int = 0) -> Tensor:
    """Return what follows in some documents, int64 `[tokens]` each, or `[choices, tokens]` of one that has such, as
    `[rows, longest]`, at least so long."""
    rows = [row for one in followed for row in (one if one.ndim > 1 else (one,))]
    found = pad_sequence(rows, batch_first=True, padding_value=MISSING)
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
    """Return what `KEPT` names of each document, float32 `[n, 4]`; the parameters are those of `Following`.

    :param outputs: of a document with choices a row for each, the right one first.
    """
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
    summed = each.new_zeros(len(followed), 3).index_add(0, rows, each)
    asked = [len(one) if one.ndim > 1 else 1 for one in targets]
    of = [its[:, 0] for its in summed.split(asked)]
    chosen = [(its[0] < its[1:].min()).float() if len(its) > 1 else its.new_tensor(UNASKED) for its in of]
    first = torch.tensor([0, *asked[:-1]], device=summed.device).cumsum(0)
    return torch.cat([summed[first], torch.stack(chosen)[:, None]], 1)
