"""Documents, as a kind of inputs: texts that a language model continues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft import methods
from hubft.base.errors import JobError, Option
from hubft.data import asked
from hubft.data.asked import Asked
from hubft.data.documents import Prompts
from hubft.data.rows import Source
from hubft.inputs import Documents, Text
from hubft.job import Columns, Head, Job, Recipe
from hubft.tasks.task import Task
from hubft.text.modality import Texts
from hubft.text.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch

RATE = 5e-5  # peak learning rate where none is asked for, that of transformers' Trainer: there is no probe to tell one

PROMPT = "A prompt of yours"  # as cards show one


@dataclass(frozen=True)
class Language(Texts):
    """Documents, of which a model says each token by those before it."""

    kind: ClassVar[str] = "documents"
    takes: ClassVar[type[Text]] = Documents
    word: ClassVar[str] = "document"
    one: ClassVar[str] = "a document"
    equal: ClassVar[str] = "characters"

    def settled(self, job: Job) -> Job:
        recipe = job.recipe
        if recipe.augment not in ("auto", "none"):
            raise JobError(Option("augment"), f" {recipe.augment}: documents are not augmented; leave it out")
        if recipe.sampler != Recipe.sampler:
            raise JobError(Option("sampler"), f" {recipe.sampler}: documents have no classes; leave it out")
        for name in ("hidden", "dropout"):
            if (value := getattr(job.head, name)) != getattr(Head(), name):
                why = ": a language model keeps its own head; leave it out"
                raise JobError(Option(name), f" {value}{why}")
        if any(method.name == "prune" for method in methods.parse(job.compress)):
            why = ": torch-pruning does not follow the layers of language models; leave prune out"
            raise JobError(Option("compress"), f" {job.compress}{why}")
        job = super().settled(job)
        return replace(job, recipe=replace(job.recipe, probe=False, lr=recipe.lr or RATE))

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        found = asked.texts(given, columns, self.kind)
        stated = [one if one.table else one._replace(source=Prompts(one.source)) for one in found.inputs]
        return found._replace(inputs=stated, word=self.word)

    def fitted(self, inputs: Text, its: Sequence[Sample], job: Job) -> Documents:
        from hubft.text import documents

        assert isinstance(inputs, Documents)
        found = documents.fitted(inputs, its)
        return replace(found, length=inputs.length) if job.size else found

    def remarks(self, training: Any) -> Iterable[str]:
        every, length = len(training.samples), training.inputs.length
        cut = f"{training.cut:,} of {every:,} training documents are longer and are cut"
        whole = cut if training.cut else "all documents are whole"
        yield f"tokens   {length:,} at most, {whole}; --size sets it"
        yield f"learned  {training.learned:,} of {training.tokens:,} training tokens"

    def views(
        self,
        source: Source,
        task: Task,
        its: Sequence[Sample],
        inputs: Text,
        recipe: Recipe | None = None,
        scratch: Scratch | None = None,
    ) -> Any:
        from hubft.text.continued import Continued

        assert isinstance(inputs, Documents)
        return Continued(task, its, inputs)

    def examples(self, inputs: Text) -> Mapping[str, Tensor]:
        found = super().examples(inputs)
        return {f"{self.word}.{place}": example for place, example in enumerate(found.values())}

    def reader(self, inputs: Text) -> Callable[[Path | BytesIO], Tensor]:
        import torch

        from hubft.text import documents

        assert isinstance(inputs, Documents)
        encoder = documents.Encoder(inputs)

        def read(source: Path | BytesIO) -> Tensor:
            content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
            return torch.from_numpy(encoder.marked(content.decode()).ids)

        return read

    def together(self, its: Sequence[Tensor], inputs: Text) -> Any:
        """Return documents as a batch of which the outputs of the last token are wanted: it tells of all others."""
        return {**super().together(its, inputs), "logits_to_keep": 1}

    def example(self, inputs: Text) -> str:
        return PROMPT

    def piped(self, inputs: Text) -> str:
        return PROMPT

    call: ClassVar[tuple[str, ...]] = (
        "inputs = encode(model.preprocess, text)",
        "written = model.generate(**inputs, max_new_tokens=64)[0].tolist()",
    )


MODALITY = Language()
