"""Chats as texts, by the template of their tokenizer: Jinja, which transformers runs in a sandbox of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hubft.base.distributions import installs, missing
from hubft.base.errors import DataError, FamilyError, reason
from hubft.data.documents import ANSWERING
from hubft.inputs import Documents
from hubft.text.tokens import EXTRA

Messages = Sequence[Mapping[str, str]]
SHORT: Messages = ({"role": "user", "content": "A"}, {"role": ANSWERING, "content": "B"})


def rendered(messages: Messages, inputs: Documents, asking: bool = False) -> str:
    """Return messages as one text.

    :param asking: with the beginning of an answer behind them.
    :raises DataError: the template refuses them, or fails.
    :raises FamilyError: transformers is not installed.
    """
    try:
        from transformers.utils.chat_template_utils import render_jinja_template  # an extra, and it takes seconds
    except ModuleNotFoundError as error:
        raise FamilyError(f"a chat template {missing('transformers', installs(EXTRA))}") from error
    plain = [dict(message) for message in messages]
    try:
        (text,), _ = render_jinja_template(
            conversations=[plain],
            chat_template=inputs.template,
            add_generation_prompt=asking,
            **inputs.special,
        )
    except Exception as error:  # whatever a stranger's template does
        raise DataError(f"the chat template refuses its messages: {reason(error)}") from error
    return str(text)


def answers(messages: Messages, inputs: Documents) -> tuple[str, list[tuple[int, int]]]:
    """Return messages as one text, and where in it the answers stand that are learned: (start, end), characters.

    An answer ends where the messages up to it end, with what the template puts behind them.

    :raises DataError: the template shows earlier messages otherwise when later ones come, so that no place in the text
        is that of the answer.
    """
    whole, found = rendered(messages, inputs), []
    for place, message in enumerate(messages):
        if message["role"] != ANSWERING:
            continue
        before, upto = rendered(messages[:place], inputs, asking=True), rendered(messages[: place + 1], inputs)
        if not (upto.startswith(before) and whole.startswith(upto)):
            raise DataError(
                "the chat template shows earlier messages otherwise when later ones come, so that no answer has a place"
            )
        found.append((len(before), len(upto)))
    return whole, found


def stop(inputs: Documents, tokenizer: Any) -> int | None:
    """Return the number of the token by which the template ends an answer; None where that is no special one.

    :param tokenizer: of the library `tokenizers`.
    """
    text, ((start, end),) = answers(SHORT, inputs)
    special = tokenizer.get_added_tokens_decoder()
    behind = text[start:end].partition(SHORT[-1]["content"])[2]
    tail = tokenizer.encode(behind, add_special_tokens=False).ids
    return next((number for number in tail if number in special), None)
