"""What a model takes, as plain data: the core reads and transforms samples by it. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, Protocol, Self

from hubft.base.errors import FamilyError, JobError, Option

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROPS = ("center", "squash", "border")
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


@dataclass(frozen=True)
class Images:
    """How pixels become inputs, as plain data: the core builds training and evaluation transforms from it.

    An image is decoded to 8-bit RGB (`hubft.images.rgb`), resized to `resize`, cropped to `size`, scaled to [0, 1] and
    normalised by `mean` and `std` channel by channel.
    """

    kind: ClassVar[str] = "images"
    FILES: ClassVar[Mapping[str, str]] = MappingProxyType({})

    size: tuple[int, int]
    """Height and width of the model's input, pixels."""
    resize: tuple[int, int] | int
    """Length of the shorter side before the crop, pixels; a pair is height and width, whatever the ratio."""
    crop: str = "center"
    """`center`: shorter side to `resize`, then cut; `squash`: straight to `resize`, then cut;
    `border`: longer side to `resize`, then cut, or padded with the mean colour."""
    interpolation: str = "bilinear"
    """Of the resize, as Pillow names it."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: str = "rgb"
    """Order of the input's channels, `rgb` or `bgr`; mean and std are in the same order."""
    white: int = 65535
    """Value of 16-bit grey that is white, 1..65535: 4095 where a camera of 12 bits wrote files of 16."""

    def __post_init__(self) -> None:
        sides = (*self.size, *(self.resize if isinstance(self.resize, tuple) else (self.resize,)))
        if not all(isinstance(side, int) and 1 <= side <= 8192 for side in sides):
            raise FamilyError(f"preprocess: size {self.size} and resize {self.resize} must lie in 1..8192")
        for what, value, known in (
            ("crop", self.crop, CROPS),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("channels", self.channels, ("rgb", "bgr")),
        ):
            if value not in known:
                raise FamilyError(f"preprocess: {what} {value!r} is none of {', '.join(known)}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise FamilyError(f"preprocess: mean {self.mean} and std {self.std} must be three numbers each")
        if type(self.white) is not int or not 1 <= self.white <= 65535:
            raise FamilyError(f"preprocess: white {self.white!r} must lie in 1..65535")

    def __str__(self) -> str:
        """Return what it is for a message: `images of 224 x 224`."""
        return f"images of {self.size[0]} x {self.size[1]}"

    @property
    def side(self) -> int:
        return self.size[0]

    @property
    def arrays(self) -> Mapping[str, tuple[int | Free, ...]]:
        return {"images": (3, *self.size)}

    def at_size(self, size: int) -> Images:
        """Return the preprocessing for a square input of `size` pixels, the share that is cropped away kept."""
        scale, old = size / min(self.size), self.resize
        new = (round(old[0] * scale), round(old[1] * scale)) if isinstance(old, tuple) else round(old * scale)
        return replace(self, size=(size, size), resize=new)


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
    """Return what a model takes, for what is made for images alone.

    :raises FamilyError: it takes something else.
    """
    if not isinstance(inputs, Images):
        raise FamilyError(f"this is for models of images, and this one takes {inputs}")
    return inputs
