"""Documents that a language model continues, in columns of a table: prompts with completions, messages, or texts.

A document is one text of JSON on its way: `{"prompt": ..., "completion": ...}`, `{"messages": [{"role": ...,
"content": ...}, ...]}` or `{"text": ...}`; what a model is asked about has no completion. With `choices`, a list of
texts, one of them is its answer: its completion, or the last of its messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from hubft import inputs
from hubft.base import files
from hubft.base.display import listed, quoted
from hubft.base.errors import DataError, Option
from hubft.data import freetext
from hubft.data.rows import Source
from hubft.job import Labels

KIND = "documents"
TASK = "generation"
PROMPT, COMPLETION, MESSAGES, TEXT, CHOICES = "prompt", "completion", "messages", "text", "choices"
ANSWERING = "assistant"  # the role whose messages are learned
HEAD = 20  # cells by which a column of messages, or of choices, is known


def are(columns: Mapping[str, Sequence[Any]], labels: Labels) -> bool:
    """Tell whether the columns of a table hold documents: as the user says, else by their names.

    :param columns: those of the table -> cells from its beginning.
    """
    if labels.task != "auto":
        return labels.task == TASK
    if labels.input or labels.target:
        return False
    names = {name for name in columns if name not in (labels.split, labels.group)}
    return {PROMPT, COMPLETION} <= names or (MESSAGES in names and _chats(columns[MESSAGES])) or names == {TEXT}


def found(table: str, columns: Mapping[str, Sequence[Any]], labels: Labels, learned: bool) -> dict[str, str]:
    """Return which columns hold what of a document: `prompt` and `completion`, `messages`, or `text` -> its column; and
    `choices`, where a column of that name holds lists of texts beside what is learned of a prompt or of messages.

    :param table: what it is called in messages.
    :param columns: those of the table -> cells from its beginning.
    :param learned: whether completions are wanted; else prompts are.
    :raises DataError: it cannot be told.
    """
    parts = _found(table, columns, labels, learned)
    chosen = learned and TEXT not in parts and CHOICES not in parts.values() and _choosing(columns.get(CHOICES, ()))
    return parts | ({CHOICES: CHOICES} if chosen else {})


def _found(table: str, columns: Mapping[str, Sequence[Any]], labels: Labels, learned: bool) -> dict[str, str]:
    if len(labels.target) > 1:
        raise DataError(Option("target"), f" {listed(labels.target)}: a document has one completion")
    if labels.target and labels.input:
        return {PROMPT: labels.input, COMPLETION: labels.target[0]}
    if labels.target:
        raise DataError(Option("target"), f" {labels.target[0]}: name the column of the prompts with ", Option("input"))
    if name := labels.input:
        return {MESSAGES if _chats(columns[name]) else TEXT if learned else PROMPT: name}
    if PROMPT in columns and (COMPLETION in columns or not learned):
        return {PROMPT: PROMPT} | ({COMPLETION: COMPLETION} if learned else {})
    if MESSAGES in columns:
        return {MESSAGES: MESSAGES}
    if TEXT in columns or not learned:
        return {TEXT if learned else PROMPT: TEXT if TEXT in columns else freetext.column(table, columns)}
    raise DataError(
        f"{table!r} has no columns prompt and completion, nor one of messages or text: it has {listed(columns)}; say "
        "which they are with ", Option("input"), " PROMPT ", Option("target"), " COMPLETION",
    )  # fmt: skip


def _chats(cells: Sequence[Any]) -> bool:
    there = [cell for cell in cells[:HEAD] if cell]
    return bool(there) and all(isinstance(cell, list) and isinstance(cell[0], Mapping) for cell in there)


def _choosing(cells: Sequence[Any]) -> bool:
    there = [cell for cell in cells[:HEAD] if cell]
    return bool(there) and all(isinstance(cell, list) and all(isinstance(one, str) for one in cell) for cell in there)


def answer(document: Mapping[str, Any]) -> str | None:
    """Return what a document says in the end, which is learned; None where that is no answer."""
    messages = document.get(MESSAGES) or [{"role": ANSWERING, "content": document.get(COMPLETION)}]
    said = messages[-1]["content"] if messages[-1]["role"] == ANSWERING else None
    return None if said is None else str(said)


def texts(document: Mapping[str, Any]) -> list[str]:
    """Return what a document says, in its order; its choices are left out."""
    if MESSAGES in document:
        return [str(one["content"]) for one in document[MESSAGES]]
    return [document[part] for part in (PROMPT, COMPLETION, TEXT) if document.get(part)]


def stated(parts: Sequence[str], cells: Sequence[Any], learned: bool) -> str:
    """Return the document in some cells as JSON.

    :param parts: what each cell holds, as `found` names it.
    :param learned: whether it must hold something to learn.
    :raises DataError: it is none; says why, as the reason for which its row is left out.
    """
    document = dict(zip(parts, cells, strict=True))
    choices = document.pop(CHOICES, None)
    for part, cell in document.items():
        document[part] = _messages(cell, learned) if part == MESSAGES else _text(part, cell)
    if choices is not None:
        document[CHOICES] = _choices(choices, answer(document))
    return json.dumps(document, ensure_ascii=False)


def _text(part: str, cell: Any) -> str:
    if not isinstance(cell, str):
        what = "is empty" if cell is None else f"is no text, but {quoted(str(cell))}"
        raise DataError(f"its {part} {what}")
    if part != PROMPT and (not cell or cell.isspace()):
        raise DataError(f"its {part} is empty")
    return cell


def _choices(cell: Any, said: str | None) -> list[str]:
    """Return texts of which one is the answer, blanks around them aside."""
    if not isinstance(cell, list) or not all(isinstance(one, str) and one.strip() for one in cell):
        raise DataError("its choices are no list of texts")
    cores = [one.strip() for one in cell]
    if len(set(cores)) < len(cores) or not 2 <= len(cores) <= inputs.CHOICES:
        raise DataError(f"its {len(cores)} choices are not 2 to {inputs.CHOICES} texts that differ")
    if said is None or said.strip() not in cores:
        raise DataError(f"its answer {quoted(said or '')} is none of its choices: {listed(cell)}")
    return list(cell)


def _messages(cell: Any, learned: bool) -> list[dict[str, str]]:
    """Return messages with a role and a content each, and nothing else of them."""
    if not isinstance(cell, list) or not cell:
        raise DataError("its messages are no list" if cell else "it has no messages")
    found = []
    for number, one in enumerate(cell, 1):
        said = one if isinstance(one, Mapping) else {}
        role, content = said.get("role"), said.get("content")
        if not isinstance(role, str) or not role or not isinstance(content, str):
            raise DataError(f"message {number} is no object with a role and a content, which are texts")
        found.append({"role": role, "content": content})
    if learned and not any(one["role"] == ANSWERING for one in found):
        raise DataError(f"none of its messages is of the role {ANSWERING}: there is nothing to learn")
    return found


@dataclass(frozen=True)
class Prompts:
    """Texts as prompts: what gives the document of each."""

    source: Source | None = None
    """What opens a text; without one, places are paths of files."""

    def open(self, place: str) -> BytesIO:
        """Return the document of a text.

        :raises DataError: it is not there, or no UTF-8.
        """
        path = Path(place)
        if self.source is None and not path.is_file():
            raise DataError("no such file")
        opened = self.source.open(place) if self.source else path
        content = files.content(opened)
        try:
            return BytesIO(json.dumps({PROMPT: content.decode("utf-8-sig")}).encode())
        except UnicodeDecodeError as error:
            raise DataError(f"no text in UTF-8: {error.reason} at byte {error.start:,}") from error
