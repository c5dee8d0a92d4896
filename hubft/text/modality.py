"""Text, as a kind of inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.base.bars import Counting
from hubft.base.errors import JobError, Option, PackageError
from hubft.base.files import content
from hubft.data import asked, freetext
from hubft.data.asked import Asked
from hubft.data.rows import Row, Source
from hubft.inputs import Text
from hubft.job import Columns, Job, Recipe
from hubft.tasks.task import Task
from hubft.text import samples
from hubft.text.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch
    from hubft.hookspecs import Loaded
    from hubft.machine.runtime import Runtime
    from hubft.text.views import Batch, Ready, Views

ONE, TWO = "A text of yours.", ("A text of yours.", "And the other one.")
STRANGE = 0.1  # share of unknown tokens above which a tokenizer is not of the texts' language
TOKENS = 2**14  # that are computed at once, at most, where the recipe says nothing else


@dataclass(frozen=True)
class Texts:
    """Texts, tokenised by the library `tokenizers`."""

    kind: ClassVar[str] = "text"
    takes: ClassVar[type[Text]] = Text
    word: ClassVar[str] = "text"
    one: ClassVar[str] = "a text"
    files: ClassVar[str] = "text"
    equal: ClassVar[str] = "characters"

    def settled(self, job: Job) -> Job:
        recipe = job.recipe
        augment = "none" if recipe.augment == "auto" else recipe.augment
        if augment == "none" and recipe.views != 1:
            why = "every view of a text is the same one; leave it out, or drop tokens with "
            raise JobError(Option("views"), f" {recipe.views}: {why}", Option("augment"), " light")
        if job.white:
            raise JobError(Option("white"), f" {job.white}: texts have no grey; leave it out")
        if job.compute.memory_format == "channels_last":
            raise JobError(Option("memory_format"), " channels_last: texts have no channels; leave it out")
        compute, recipe = replace(job.compute, memory_format="contiguous"), replace(recipe, augment=augment)
        return replace(job, recipe=recipe, compute=compute)

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        return asked.texts(given, columns)

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any], counting: Counting) -> list[Any]:
        return samples.examine(source, rows, targets, counting)

    def notes(self, its: Sequence[Sample]) -> Iterable[str]:
        return ()

    def sizes(self, sample: Sample) -> dict[str, int]:
        return {"characters": len(sample.text)}

    def excerpt(self, sample: Sample) -> str:
        return " ".join(sample.text.split())

    def fitted(self, inputs: Text, its: Sequence[Sample], job: Job) -> Text:
        from hubft.text import length

        if inputs.pair and not job.labels.pair:
            raise JobError(
                f"{job.reference} takes {inputs}: say which column has the second ones with ", Option("pair")
            )
        inputs = replace(inputs, pair=bool(job.labels.pair))
        return inputs if job.size else length.chosen(inputs, its)

    def suits(self, inputs: Text, its: Sequence[Sample]) -> None:
        """What is too long is cut, so every text is taken."""

    def remarks(self, training: Views) -> Iterable[str]:
        every, cut, length = len(training.samples), training.cut, training.inputs.length
        whole = f"{cut:,} of {every:,} training texts are longer and lose their ends" if cut else "all texts are whole"
        yield f"tokens   {length:,} at most, {whole}; --size sets it"
        from hubft.text import tokens

        if (share := tokens.unknown(training.rows, training.inputs)) > STRANGE:
            yield (
                f"note: {share:.0%} of the tokens are unknown to the tokenizer: take a model of the language or the "
                "alphabet of the texts"
            )

    def check(self, loaded: Loaded, job: Job) -> None:
        """Nothing more: `Text.at_size` refuses what is too long."""

    def blank(self, inputs: Text, number: int) -> Batch:
        import torch

        from hubft.text.views import joined

        size = min(inputs.length, 2)
        shape = (2, size) if inputs.typed else (size,)
        return joined([torch.zeros(shape, dtype=torch.int32)] * number, inputs.padding)

    def noise(self, inputs: Text, number: int, signs: Sequence[int] = ()) -> Batch:
        from hubft.text import drawn
        from hubft.text.views import joined

        return joined(drawn.rows(inputs, number, signs), inputs.padding)

    def views(
        self,
        source: Source,
        task: Task,
        its: Sequence[Sample],
        inputs: Text,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Views:
        from hubft.text.views import Views

        return Views(task, its, inputs, recipe)

    def ready(self, inputs: Text, runtime: Runtime) -> Ready:
        from hubft.text.views import Ready

        return Ready(runtime)

    def parts(self, batch: Any, recipe: Recipe) -> list[tuple[float, Any]]:
        from hubft.text import views

        return views.parts(batch, recipe.accumulate, recipe.tokens or TOKENS)

    def other(self, batch: Batch, inputs: Text) -> Batch:
        from hubft.text.views import longer

        if batch["input_ids"].shape[1] < inputs.length:
            return longer(batch, inputs.padding, 1)
        return {name: tensor[:, :-1] for name, tensor in batch.items()}  # of shapes alone, as a batch of shorter texts

    def whole(self, batch: Batch, inputs: Text) -> Batch:
        from hubft.text.views import longer

        return longer(batch, inputs.padding, inputs.length - batch["input_ids"].shape[1])

    def conversion(self, given: Text, wanted: Text) -> Callable[[Any], Any]:
        same = replace(given, length=wanted.length) == wanted
        if not same or given.length > wanted.length:
            raise JobError(
                f"the teacher takes {wanted}, and the student {given}: they must have the same tokenizer, and the "
                "teacher's must not be shorter; take another teacher"
            )
        return _same

    def mixing(self, outputs: int, seed: int) -> None:
        return None

    def examples(self, inputs: Text) -> Mapping[str, Tensor]:
        from hubft.text import drawn

        return drawn.examples(inputs)

    def is_example(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        import torch

        return dtype == torch.uint8 and len(shape) == 1 and 0 not in shape

    def of_example(self, inputs: Text, example: Tensor) -> Tensor:
        try:
            text = example.numpy().tobytes().decode()
        except UnicodeDecodeError as error:
            raise PackageError(f"a text of the self-test is no UTF-8: {error}") from error
        return _encoder(inputs)(text)

    def reader(self, inputs: Text) -> Callable[[Path | BytesIO], Tensor]:
        encoded = _encoder(inputs)

        def read(source: Path | BytesIO) -> Tensor:
            return encoded(samples.decoded(content(source)))

        return read

    def frame(self, inputs: Text, source: Path | BytesIO) -> None:
        return None

    def drawing(self) -> None:
        return None

    def contact(self, shelves: Iterable[Any]) -> None:
        return None

    def shown(self, source: Path | BytesIO, inputs: Text, marks: Any = None) -> str:
        text = samples.decoded(content(source))
        return text.replace(freetext.PAIR, f" {freetext.TYPED} ")

    def view_shown(self, view: Tensor, inputs: Text, marks: Any = None) -> str:
        from hubft.text import tokens

        ids = view if view.ndim == 1 else view[0]
        return str(tokens.tokenizer(inputs).decode(ids.tolist()))

    def together(self, its: Sequence[Tensor], inputs: Text) -> Batch:
        from hubft.text.views import joined

        return joined(its, inputs.padding)

    def transform(self, inputs: Text) -> Any:
        from hubft.text import tokens

        return tokens.tokenizer(inputs)

    dataset: ClassVar[str] = "text"
    becomes: ClassVar[str] = "A loaded model has its tokenizer, of the library `tokenizers`, as `model.preprocess`:"
    call: ClassVar[tuple[str, ...]] = ("inputs = encode(model.preprocess, text)", "logits = model(**inputs).logits")

    encodes: ClassVar[str] = "text"
    """What the tokenizer is given of a `text`, as Python."""

    def example(self, inputs: Text) -> str:
        return f" {freetext.TYPED} ".join(TWO) if inputs.pair else ONE

    def piped(self, inputs: Text) -> Any:
        return dict(zip(("text", "text_pair"), TWO, strict=True)) if inputs.pair else ONE

    def lines(self, inputs: Text) -> Iterator[str]:
        types = ', "token_type_ids": torch.tensor([found.type_ids])' if inputs.typed else ""
        shown = TWO if inputs.pair else self.example(inputs)
        yield from ("import torch", "", f"text = {json.dumps(shown)}", "", "")
        yield from ("def encode(tokenizer, text):", '    """Return the inputs of a model for one text, or pair."""')
        yield f"    found = tokenizer.encode({'*' if inputs.pair else ''}{self.encodes})"
        yield "    ids = torch.tensor([found.ids])"
        yield f'    return {{"input_ids": ids, "attention_mask": torch.ones_like(ids){types}}}'


def _encoder(inputs: Text) -> Callable[[str], Tensor]:
    """Return what makes a tensor of one text, or pair."""
    import torch

    from hubft.text import tokens

    encode = tokens.encoder(inputs)
    return lambda text: torch.from_numpy(encode(text))


def _same(inputs: Any) -> Any:
    return inputs


MODALITY = Texts()
