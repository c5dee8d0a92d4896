"""Documents, as a kind of inputs: texts that a language model continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hubft import methods
from hubft.adapting import FASTER
from hubft.base.display import listed
from hubft.base.errors import JobError, Option
from hubft.base.files import content
from hubft.data import documents as stating
from hubft.data.asked import Asked
from hubft.data.documents import COMPLETION, MESSAGES, TEXT, Prompts
from hubft.data.documents import PROMPT as PROMPTED
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
PLAIN = (
    "import torch",
    "",
    f'text = "{PROMPT}"',
    "",
    "",
    "def encode(model, text):",
    '    """Return the inputs of a model for one prompt."""',
    "    ids = torch.tensor([model.preprocess.encode(text).ids])",
    '    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}',
)
"""How a card encodes a prompt."""
CHATTING = (
    "from transformers import PreTrainedTokenizerFast",
    "",
    f'text = "{PROMPT}"',
    "",
    "",
    "def encode(model, text):",
    '    """Return the inputs of a model for one prompt, put in its chat template."""',
    '    template, special = (model.hubft["preprocess"][name] for name in ("template", "special"))',
    "    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model.preprocess, chat_template=template, **special)",
    '    messages = [{"role": "user", "content": text}]',
    '    how = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}',
    "    return tokenizer.apply_chat_template(messages, **how)",
)
"""How it does for a model of chats."""


@dataclass(frozen=True)
class Language(Texts):
    """Documents, of which a model says each token by those before it."""

    kind: ClassVar[str] = "documents"
    takes: ClassVar[type[Text]] = Documents
    word: ClassVar[str] = "document"
    one: ClassVar[str] = "a document"
    files: ClassVar[str] = "documents"
    equal: ClassVar[str] = "characters"

    def settled(self, job: Job) -> Job:
        own = "a language model keeps its own head"
        whys = {"augment": "documents are not augmented", "sampler": "documents have no classes"}
        unprobed.refuse(job, {**whys, "hidden": own, "dropout": own})
        if any(method.name == "prune" for method in methods.parse(job.compress)):
            why = ": torch-pruning does not follow the layers of language models; leave prune out"
            raise JobError(Option("compress"), f" {job.compress}{why}")
        rate = unprobed.RATE * (FASTER if job.adapting.on else 1.0)  # no head trains beside the adapters
        return unprobed.settled(super().settled(job), rate)

    def asked(self, given: str | Path | Iterable[str | Path], columns: Columns | None = None) -> Asked:
        return unprobed.typed(given, columns, self.kind, self.word, Prompts)

    def sizes(self, sample: Sample) -> dict[str, int]:
        return {"characters": sum(map(len, stating.texts(json.loads(sample.text))))}

    def excerpt(self, sample: Sample) -> str:
        return " ".join(" ".join(stating.texts(json.loads(sample.text))).split())

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
        if among := training.inputs.choices:
            yield f"choices  {listed(among)} recur as answers: it is measured which is the likeliest"

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
        return Continued(task, its, inputs, measured=recipe is None)

    def examples(self, inputs: Text) -> Mapping[str, Tensor]:
        found = super().examples(inputs)
        return {f"{self.word}.{place}": example for place, example in enumerate(found.values())}

    def reader(self, inputs: Text) -> Callable[[Path | BytesIO], Tensor]:
        import torch

        from hubft.text import documents

        assert isinstance(inputs, Documents)
        encoder = documents.Encoder(inputs)

        def read(source: Path | BytesIO) -> Tensor:
            return torch.from_numpy(encoder.marked(content(source).decode()).ids)

        return read

    def shown(self, source: Path | BytesIO, inputs: Text, marks: Any = None) -> str:
        stated = json.loads(super().shown(source, inputs))
        if MESSAGES in stated:
            return "\n".join(f"{one['role']}: {one['content']}" for one in stated[MESSAGES])
        return "\n".join(str(stated[part]) for part in (PROMPTED, COMPLETION, TEXT) if part in stated)

    def transform(self, inputs: Text) -> Any:
        made = super().transform(inputs)
        made.no_truncation()  # of a prompt the end is what goes on
        return made

    def together(self, its: Sequence[Tensor], inputs: Text) -> Any:
        """Return documents as a batch of which the outputs of the last token are wanted: it tells of all others."""
        return {**super().together(its, inputs), "logits_to_keep": 1}

    def example(self, inputs: Text) -> str:
        return PROMPT

    def piped(self, inputs: Text) -> Any:
        assert isinstance(inputs, Documents)
        return [{"role": "user", "content": PROMPT}] if inputs.chat else PROMPT

    call: ClassVar[tuple[str, ...]] = (
        "inputs = encode(model, text)",
        'written = model.generate(**inputs, eos_token_id=model.hubft["preprocess"]["ends"], max_new_tokens=64)[0]',
        'written = written[inputs["input_ids"].shape[1] :].tolist()',
    )

    def lines(self, inputs: Text) -> Iterator[str]:
        assert isinstance(inputs, Documents)
        yield from (CHATTING if inputs.chat else PLAIN)


MODALITY = Language()
