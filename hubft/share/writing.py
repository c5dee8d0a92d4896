"""A language model at work: it writes what follows a prompt, token after token, by the library of its family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch

from hubft import modality
from hubft.base import draws
from hubft.base.errors import DataError, PackageError
from hubft.data.asked import Input
from hubft.share.opened import Answer, Opened
from hubft.writing import Writing

POSITIONS = "max_position_embeddings"


Tell = Callable[[str, str], object]
"""(name of an input, piece of what is written behind it) -> anything."""


def untold(name: str, piece: str) -> None:
    """Tell nobody."""


def written(opened: Opened, inputs: Iterable[Input], how: Writing, tell: Tell = untold) -> Iterator[Answer]:
    """Yield what is written behind each prompt, in order.

    An answer says `written`, the text; `tokens`, how many it has; and `ended`, whether the model ended it itself.

    :param tell: gets each piece of a text as soon as it is written.
    :raises PackageError: the model cannot write.
    """
    model: Any = opened.loaded.model
    if not hasattr(model, "generate"):
        raise PackageError(f"a {type(model).__name__} cannot write: its library has no `generate` for it")
    its = opened.manifest.inputs
    read = modality.of(its).reader(its)
    for one in inputs:
        try:
            said = _written(model, its, read(one.open()), how, partial(tell, one.name))
        except (DataError, OSError) as error:
            yield Answer(one.name, {}, " ".join(str(error).split()))
        else:
            yield Answer(one.name, said)


def _written(model: Any, inputs: Any, ids: torch.Tensor, how: Writing, tell: Callable[[str], object]) -> dict[str, Any]:
    """Return what is written behind one prompt, int32 `[tokens]`."""
    from transformers import GenerationConfig  # of the family whose models write

    room = getattr(model.config, POSITIONS, None) or len(ids) + how.max_tokens
    if len(ids) >= room:
        raise DataError(f"the prompt has {len(ids):,} tokens, and the model takes {room:,} with what it writes")
    drawn: dict[str, Any] = {"do_sample": False}
    if how.temperature:
        drawn = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=min(how.max_tokens, room - len(ids)),
        eos_token_id=list(inputs.ends),
        pad_token_id=inputs.padding,
        **drawn,
    )
    stream = Stream(inputs, tell)
    prompt = ids.long()[None]
    with draws.preserved(), torch.inference_mode():
        draws.seed("write", how.seed)
        model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config, streamer=stream)
    return {"written": stream.text, "tokens": len(stream.ids), "ended": bool({*stream.ids[-1:]} & {*inputs.ends})}


class Stream:
    """Text as it is written: a piece is told when its characters are whole. As transformers calls a streamer."""

    def __init__(self, inputs: Any, tell: Callable[[str], object]) -> None:
        from tokenizers.decoders import DecodeStream

        from hubft.text import tokens

        self.tokenizer, self.decoded = tokens.tokenizer(inputs), DecodeStream(skip_special_tokens=True)
        self.tell, self.text, self.ids = tell, "", list[int]()
        self.prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Take tokens, int64 `[1, tokens]` or `[1]`; the first are the prompt."""
        if self.prompt:
            self.prompt = False
            return
        for number in value.flatten().tolist():
            self.ids.append(number)
            if piece := self.decoded.step(self.tokenizer, number):
                self.text += piece
                self.tell(piece)

    def end(self) -> None:
        """Tell what is left: half a character, as the tokenizer writes such."""
        whole = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        if whole.startswith(self.text) and (rest := whole[len(self.text) :]):
            self.text += rest
            self.tell(rest)
