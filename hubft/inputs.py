"""What a model takes, as plain data: the core reads and transforms samples by it. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, Protocol, Self

from hubft.base.errors import FamilyError, JobError, Option
from hubft.pictures import Bands as Bands
from hubft.pictures import Framed as Framed
from hubft.pictures import Images as Images

LONGEST = 2**18  # characters of a chat template
CHOICES = 26  # answers to choose among, at most


@dataclass(frozen=True)
class Free:
    """A size that may be another one in each batch; of the same name, it is the same one."""

    name: str
    most: int


class Inputs(Protocol):
    """What a model takes, whatever its kind: a frozen dataclass of plain data."""

    kind: ClassVar[str]
    FILES: ClassVar[Mapping[str, str]]
    """Fields that hold the text of a file -> what the file is called in a package; the manifest states the name."""

    @property
    def side(self) -> int:
        """What `--size` would have to say for it."""

    @property
    def arrays(self) -> Mapping[str, tuple[int | Free, ...]]:
        """Tensors of a batch by name, in its order: the sizes of each without the batch's own."""

    def at_size(self, size: int) -> Self:
        """Return the same at another `--size`.

        :raises JobError: the model cannot take it.
        """


Preprocess = Images  # by the name that it had in version 1.1 of the hooks


@dataclass(frozen=True)
class Text:
    """How a text becomes inputs, as plain data: `input_ids` and `attention_mask`, int64 `[batch, tokens]` each, and of
    pairs `token_type_ids` too, where the model tells its two texts by them.

    A text, or a pair of them, is tokenised with the special tokens of its tokenizer, cut at `length`, and filled up
    behind its end to the longest of its batch.
    """

    kind: ClassVar[str] = "text"
    FILES: ClassVar[Mapping[str, str]] = MappingProxyType({"tokenizer": "tokenizer.json"})

    tokenizer: str
    """Text of a tokenizer.json, in the format of the library `tokenizers`."""
    length: int
    """Tokens of an input at most, special ones among them."""
    padding: int = 0
    """Number of the token that fills up."""
    types: bool = False
    """Whether the model takes `token_type_ids`."""
    pair: bool = False
    """Whether an input is two texts; what is too long of both is cut from the longer one."""

    def __post_init__(self) -> None:
        for what, value, least in (("length", self.length, 1), ("padding", self.padding, 0)):
            if type(value) is not int or not least <= value < 2**31:
                raise FamilyError(f"text: {what} {value!r} must be a whole number from {least} on")

    def __str__(self) -> str:
        """Return what it is for a message: `texts of 128 tokens at most`."""
        return f"{'pairs of texts' if self.pair else 'texts'} of {self.length:,} tokens at most"

    @property
    def side(self) -> int:
        return self.length

    @property
    def typed(self) -> bool:
        """Whether an input says of each token which of the two texts it is of."""
        return self.types and self.pair

    @property
    def arrays(self) -> Mapping[str, tuple[int | Free, ...]]:
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self.typed else ()))
        return dict.fromkeys(names, (Free("tokens", self.length),))

    def at_size(self, size: int) -> Self:
        if size > self.length:
            raise JobError(Option("size"), f" {size}: the model takes {self}")
        return replace(self, length=size)


@dataclass(frozen=True)
class Documents(Text):
    """How a document becomes inputs of a model that continues it: as `Text`, but nothing is put behind a prompt.

    A document is cut to `length` from its beginning, so that what is to be continued stays.
    """

    kind: ClassVar[str] = "documents"

    ends: tuple[int, ...] = ()
    """Numbers of the tokens behind which nothing follows; the first is put behind what is learned."""
    template: str = ""
    """Jinja of the chat template, as transformers reads it; empty where the tokenizer has none."""
    special: dict[str, str] = field(default_factory=dict)
    """What a template calls the special tokens -> their text: `bos_token`, `eos_token`."""
    chat: bool = False
    """Whether a prompt is a message, put in the template."""
    choices: tuple[str, ...] = ()
    """Answers of which each document has one, where there are few: among them the likeliest is looked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(type(end) is int and 0 <= end < 2**31 for end in self.ends):
            raise FamilyError(f"documents: ends {self.ends!r} must be numbers of tokens")
        if len(self.template) > LONGEST:
            raise FamilyError(f"documents: a chat template of {len(self.template):,} characters")
        if len(self.choices) > CHOICES:
            raise FamilyError(f"documents: {len(self.choices):,} answers to choose among")

    def __str__(self) -> str:
        """Return what it is for a message: `documents of 128 tokens at most`."""
        return f"documents of {self.length:,} tokens at most"


@dataclass(frozen=True)
class Words(Text):
    """How the words of a sentence become inputs: as `Text`, each word tokenised by itself."""

    kind: ClassVar[str] = "words"

    def __str__(self) -> str:
        """Return what it is for a message: `words of 128 tokens at most`."""
        return f"words of {self.length:,} tokens at most"


def images(inputs: Inputs) -> Images:
    """Return what a model takes, for what is made for images in 8-bit RGB alone.

    :raises FamilyError: it takes something else.
    """
    if not isinstance(inputs, Images):
        raise FamilyError(f"this is for models of images in RGB, and this one takes {inputs}")
    return inputs


def framed(inputs: Inputs) -> Framed:
    """Return what a model takes, for what is made for pictures.

    :raises FamilyError: it takes something else.
    """
    if not isinstance(inputs, Framed):
        raise FamilyError(f"this is for models of images, and this one takes {inputs}")
    return inputs
