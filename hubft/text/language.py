"""Documents, as a kind of inputs: texts that a language model continues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft import methods
from hubft.base.errors import JobError, Option
from hubft.data.asked import Asked
from hubft.data.documents import Prompts
from hubft.data.rows import Source
from hubft.inputs import Documents, Text
from hubft.job import Columns, Job, Recipe
from hubft.tasks.task import Task
from hubft.text import unprobed
from hubft.text.modality import Texts
from hubft.text.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from hubft.base.store import Scratch

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
        own = "a language model keeps its own head"
        whys = {"augment": "documents are not augmented", "sampler": "documents have no classes"}
        unprobed.refuse(job, {**whys, "hidden": own, "dropout": own})
        if any(method.name == "prune" for method in methods.parse(job.compress)):
            why = ": torch-pruning does not follow the layers of language models; leave prune out"
            raise JobError(Option("compress"), f" {job.compress}{why}")
        return unprobed.settled(super().settled(job))

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        return unprobed.typed(given, columns, self.kind, self.word, Prompts)

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
