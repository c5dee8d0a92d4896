"""Sentences, as a kind of inputs: words that a model tags one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft.base.bars import Counting
from hubft.base.errors import PackageError
from hubft.base.files import content
from hubft.data.asked import Asked
from hubft.data.rows import Row, Source
from hubft.data.words import WORDS, Typed
from hubft.inputs import Text, Words
from hubft.job import Columns, Job, Recipe
from hubft.tasks.task import Task
from hubft.text import samples, unprobed
from hubft.text.modality import Texts
from hubft.text.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch

SENTENCE = "Anna lives in Paris"  # as cards show one
TESTED = 16  # tokens of an example, of each the same: so their outputs have one shape
ATTEMPTS = 6  # to make an example so long, by saying it again


@dataclass(frozen=True)
class Sentences(Texts):
    """Sentences, each a list of words."""

    kind: ClassVar[str] = "words"
    takes: ClassVar[type[Text]] = Words
    word: ClassVar[str] = "sentence"
    one: ClassVar[str] = "a sentence"
    files: ClassVar[str] = "words"
    equal: ClassVar[str] = "words"

    def settled(self, job: Job) -> Job:
        own = "the head of a model that tags is one layer"
        whys = {"augment": "words with tags are not augmented", "sampler": "a sentence has more than one tag"}
        unprobed.refuse(job, {**whys, "hidden": own, "dropout": own})
        return unprobed.settled(super().settled(job))

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        return unprobed.typed(given, columns, self.kind, self.word, Typed)

    def examine(self, source: Source, rows: Sequence[Row], targets: Sequence[Any], counting: Counting) -> list[Any]:
        return [_whole(proof) for proof in samples.examine(source, rows, targets, counting)]

    def sizes(self, sample: Sample) -> dict[str, int]:
        return {"words": len(json.loads(sample.text)[WORDS])}

    def excerpt(self, sample: Sample) -> str:
        return " ".join(json.loads(sample.text)[WORDS])

    def fitted(self, inputs: Text, its: Sequence[Sample], job: Job) -> Words:
        from hubft.text import length, tokens

        assert isinstance(inputs, Words)
        inputs = replace(inputs, tokenizer=tokens.spaced(inputs.tokenizer))
        return inputs if job.size else length.longest(inputs, [json.loads(one.text)[WORDS] for one in its])

    def remarks(self, training: Any) -> Iterable[str]:
        every, lost = sum(len(sample.target) for sample in training.samples), training.lost
        whole = f"{lost:,} of {every:,} training words have none and are not learned" if lost else "all words are whole"
        yield f"tokens   {training.inputs.length:,} at most, {whole}; --size sets it"

    def views(
        self,
        source: Source,
        task: Task,
        its: Sequence[Sample],
        inputs: Text,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Any:
        from hubft.text.tagged import Tagged

        assert isinstance(inputs, Words)
        return Tagged(task, its, inputs)

    def examples(self, inputs: Text) -> Mapping[str, Tensor]:
        import numpy
        import torch

        found = {}
        for place, example in enumerate(super().examples(inputs).values()):
            words = example.numpy().tobytes().decode().split()
            for _ in range(ATTEMPTS):
                if len(self._ids(words, inputs)) >= _tested(inputs):
                    break
                words = words * 2
            encoded = json.dumps({WORDS: words}, ensure_ascii=False).encode()
            found[f"{self.word}.{place}"] = torch.from_numpy(numpy.frombuffer(encoded, numpy.uint8).copy())
        return found

    def of_example(self, inputs: Text, example: Tensor) -> Tensor:
        try:
            words = json.loads(example.numpy().tobytes())[WORDS]
        except (ValueError, KeyError, TypeError) as error:
            raise PackageError(f"a sentence of the self-test is none: {error}") from error
        return self._ids(words, replace(inputs, length=_tested(inputs)))

    def _ids(self, words: Sequence[str], inputs: Text) -> Tensor:
        import torch

        from hubft.text import tagged

        assert isinstance(inputs, Words)
        return torch.from_numpy(tagged.encoded([json.dumps({WORDS: words})], inputs)[0].ids)

    def reader(self, inputs: Text) -> Callable[[Path | BytesIO], Tensor]:
        def read(source: Path | BytesIO) -> Tensor:
            return self._ids(json.loads(content(source))[WORDS], inputs)

        return read

    def shown(self, source: Path | BytesIO, inputs: Text, marks: Any = None) -> str:
        return " ".join(json.loads(content(source))[WORDS])

    def frame(self, inputs: Text, source: Path | BytesIO) -> Any:
        from hubft.text import tagged

        assert isinstance(inputs, Words)
        return tagged.frame(content(source).decode(), inputs)

    def example(self, inputs: Text) -> str:
        return SENTENCE

    def piped(self, inputs: Text) -> str:
        return SENTENCE

    encodes: ClassVar[str] = "text.split(), is_pretokenized=True"


def _whole(proof: Sample | str) -> Sample | str:
    """Return a sample, or why it has not a tag for each word."""
    if isinstance(proof, str):
        return proof
    words = json.loads(proof.text)[WORDS]
    same = len(words) == len(proof.target)
    return proof if same else f"it has {len(words):,} words and {len(proof.target):,} tags"


def _tested(inputs: Text) -> int:
    return min(inputs.length, TESTED)


MODALITY = Sentences()
