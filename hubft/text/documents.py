"""Documents as token ids, with those that are learned: what follows a prompt, and answers of a chat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from hubft.base.errors import DataError, FamilyError, JobError, Option
from hubft.data.documents import COMPLETION, MESSAGES, PROMPT, TEXT
from hubft.inputs import Documents
from hubft.text import chat, choices, tokens
from hubft.text.length import MOST, STEP
from hubft.text.samples import Sample


class Marked(NamedTuple):
    """A document as token ids."""

    ids: NDArray[numpy.int32]
    """`[tokens]`."""
    learned: NDArray[numpy.bool]
    """`[tokens]`: whether a token is to be said."""

    @property
    def answer(self) -> int:
        """How many tokens the last answer has: those that are learned one behind the other, up to the last of them."""
        places = numpy.flatnonzero(self.learned)
        return len(numpy.split(places, numpy.flatnonzero(numpy.diff(places) > 1) + 1)[-1])


@dataclass
class Encoder:
    """Makes of documents what a model takes; it cuts none."""

    inputs: Documents

    def __post_init__(self) -> None:
        self.tokenizer = tokens.tokenizer(self.inputs)
        self.tokenizer.no_truncation()
        probe = self.tokenizer.encode("a")
        marks = list(probe.special_tokens_mask)
        self.front = list(probe.ids[: marks.index(0) if 0 in marks else 0])
        """Special tokens that the tokenizer puts in front; those behind are left out, for the text goes on."""

    def plain(self, text: str) -> list[int]:
        """Return the token ids of a text by itself."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def marked(self, document: str) -> Marked:
        """Return a document, as `hubft.data.documents` states it, with the end behind what is learned.

        :raises DataError: it is none, or the chat template refuses it.
        """
        stated = json.loads(document)
        if MESSAGES in stated:
            return self._chat(stated[MESSAGES])
        if PROMPT in stated and COMPLETION not in stated:
            return self._asked(stated[PROMPT])
        ends = list(self.inputs.ends[:1])
        if TEXT in stated:
            ids = [*self.front, *self.plain(stated[TEXT]), *ends]
            return _marked(ids, [False, *[True] * (len(ids) - 1)])
        prompt = self.plain(stated[PROMPT])
        whole = self.plain(stated[PROMPT] + stated[COMPLETION])
        # As it is asked: a tokenizer that joins the end of a prompt to what follows would have the model learn tokens
        # that it never sees behind a prompt.
        rest = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self.plain(stated[COMPLETION])
        front = [*self.front, *prompt]
        learned = [*[False] * len(front), *[True] * (len(rest) + len(ends))]
        return _marked([*front, *rest, *ends], [False, *learned[1:]])

    def _asked(self, prompt: str) -> Marked:
        if self.inputs.chat:
            return self._chat([{"role": "user", "content": prompt}], asking=True)
        ids = [*self.front, *self.plain(prompt)] or list(self.inputs.ends[:1])
        return _marked(ids, [False] * len(ids))

    def _chat(self, messages: list[dict[str, str]], asking: bool = False) -> Marked:
        """Return a chat; its template puts in what stands in front and behind."""
        if not self.inputs.template:
            raise FamilyError(
                "the tokenizer of the model has no chat template, and the data holds messages: take a model that was "
                "made for chats, or columns prompt and completion"
            )
        asking = asking or messages[-1]["role"] == "user"
        text, spans = chat.answers(messages, self.inputs)
        text = chat.rendered(messages, self.inputs, asking=True) if asking else text
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        learned = [any(start <= a and a < b <= end for start, end in spans) for a, b in encoding.offsets]
        ids = list(encoding.ids)
        if learned and learned[-1] and not set(self.inputs.ends) & set(ids[-2:]):
            ids, learned = [*ids, *self.inputs.ends[:1]], [*learned, True]
        return _marked(ids, learned)


def _marked(ids: Sequence[int], learned: Sequence[bool]) -> Marked:
    return Marked(numpy.asarray(ids, tokens.IDS), numpy.asarray(learned, bool))


def marked(samples: Sequence[Sample], inputs: Documents) -> tuple[list[Marked], int]:
    """Return documents as the model takes them, and how many were cut.

    What is too long loses its beginning, a text without a prompt its end.

    :raises JobError: one whose answer alone is longer than the input, or that the chat template refuses; names it.
    """
    encoder, found, cut = Encoder(inputs), [], 0
    for sample in samples:
        one = _one(encoder, sample)
        if len(one.ids) > inputs.length:
            cut += 1
            bare = TEXT in json.loads(sample.text)
            if one.answer >= inputs.length and not bare:
                raise JobError(
                    f"{sample.place}: its completion has {one.answer:,} tokens, and the model is to take {inputs}, the "
                    "prompt among them: shorten it, train with a longer ", Option("size"), ", as far as the model has "
                    "positions, or take a model with a longer context",
                )  # fmt: skip
            kept = slice(None, inputs.length) if bare else slice(-inputs.length, None)
            one = Marked(one.ids[kept], one.learned[kept])
        found.append(one)
    return found, cut


def chosen(samples: Sequence[Sample], inputs: Documents) -> list[list[Marked]]:
    """Return of each document what it would be with each of the answers that it might have had, too: none where it has
    no choice, or where one of these is longer than the input."""
    encoder, found = Encoder(inputs), []
    for sample in samples:
        its = [encoder.marked(other) for other in choices.others(sample.text, inputs.choices)]
        found.append(its if all(len(one.ids) <= inputs.length for one in its) else [])
    return found


def _one(encoder: Encoder, sample: Sample) -> Marked:
    try:
        return encoder.marked(sample.text)
    except DataError as error:
        raise JobError(f"{sample.place}: {error}") from error


def fitted(inputs: Documents, samples: Sequence[Sample]) -> Documents:
    """Return inputs as long as the longest document, rounded up to eight tokens, as far as the model takes them.

    :raises JobError: as `marked` does.
    :raises FamilyError: chats, and no chat template.
    """
    chats = any(MESSAGES in json.loads(sample.text) for sample in samples[:1])
    inputs = replace(inputs, chat=chats)
    encoder = Encoder(inputs)
    if chats and inputs.template:
        try:
            stop = chat.stop(inputs, encoder.tokenizer)
        except DataError as error:
            cure = "mend chat_template.jinja beside the model, or give columns prompt and completion"
            raise JobError(f"{error}; {cure}") from error
        ends = dict.fromkeys((*inputs.ends[:1], *(() if stop is None else (stop,)), *inputs.ends[1:]))
        inputs = replace(inputs, ends=tuple(ends))
    longest = max(len(_one(encoder, sample).ids) for sample in samples)
    among = choices.shared(sample.text for sample in samples)
    return replace(inputs, length=min(inputs.length, MOST, -(-longest // STEP) * STEP), choices=among)


def prompt(content: bytes, inputs: Documents) -> list[int]:
    """Return the token ids of what a model is asked to continue.

    :param content: a document as JSON.
    :raises DataError: it is none.
    """
    return [int(one) for one in Encoder(inputs).marked(content.decode()).ids]
