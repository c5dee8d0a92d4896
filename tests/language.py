"""A tiny language model that is trained on made-up lines at test time, and documents for it."""

import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from extras import needs
from markdown_it import MarkdownIt

from hubft.families.plugins import ROOT
from hubft.inputs import Documents
from hubft.publish import lines, loading
from hubft.text.language import PROMPT

__all__ = ["Documents", "model", "pairs", "table"]

WAYS = {
    "pipeline(": "said[0]['generated_text']",
    "torch.hub.load(": "model.preprocess.decode(written)",
    "hubft.load(": "model.preprocess.decode(written)",
    "PeftModel": "type(model).__name__",
}
"""What marks a block of a card that loads a model, and what it came to."""
WORDS = ("red", "blue", "green", "cat", "dog", "bird")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|bot|>", "<|end|>")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|user|>' if message.role == 'user' else '<|bot|>' }}"
    "{{ message.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}"
)


def opposite(word: str) -> str:
    """Return what a model shall learn to say to a word: what it never saw before."""
    return WORDS[(WORDS.index(word) + 3) % len(WORDS)]


def pairs(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return so many (prompt, completion) that differ, which a rule tells."""
    return [(f"{'the ' * (1 + i // len(WORDS) % 4)}{WORDS[i % len(WORDS)]}:", opposite(WORDS[i % len(WORDS)])) for i in
            range(seed, seed + number)]  # fmt: skip


def table(path: Path, number: int = 48, form: str = "prompt", more: tuple[object, ...] = ()) -> Path:
    """Return a new file of documents in JSON lines: `prompt`, `messages` or `text`."""
    made = {
        "prompt": lambda p, c: {"prompt": p, "completion": c},
        "messages": lambda p, c: {"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": c}]},
        "text": lambda p, c: {"text": f"{p} {c}"},
    }[form]
    rows = [*(made(*pair) for pair in pairs(number)), *more]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def tokenizer() -> object:
    """Return a tokenizer of characters, with special tokens."""
    tokenizers = needs("tokenizers", "transformers")
    letters = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz :."]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    made.decoder = tokenizers.decoders.Fuse()
    made.add_special_tokens(list(SPECIAL))
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def model(folder: Path, tied: bool = True, template: bool = True, **facts: object) -> Path:
    """Return a folder with a Llama that knows the letters of the lines above, and little of what follows them."""
    shutil.copytree(_trained(tied), folder)
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "bos_token": "<s>"}
    stated |= {"eos_token": "</s>", "pad_token": "<pad>", **facts}
    stated |= {"chat_template": TEMPLATE} if template else {}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in stated.items() if v is not None}))
    return folder


def by_card(package: Path, prompt: str, base: Path) -> dict[str, str]:
    """Return what is written behind a prompt by the blocks of Python on a package's card, by how they load the model;
    of peft what it makes. They run in their order, in a process of their own.

    :param base: folder that an adapter goes onto.
    """
    blocks = [t.content for t in MarkdownIt().parse((package / "README.md").read_text()) if t.info == "python"]
    code = ["import json", "found = {}"]
    for block in blocks:
        for stands, there in (
            (loading.HERE, package),
            (lines.PLACE, ROOT),
            ("path/to/the/base", base),
            (PROMPT, prompt),
        ):
            block = block.replace(stands, str(there))
        way, what = next(((way, what) for way, what in WAYS.items() if way in block), ("", "None"))
        code += [re.sub("^ask\\(", "said = ask(", block, flags=re.MULTILINE), f"found[{way!r}] = {what}"]
    code.append("print(json.dumps(found))")
    ran = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    del found[""]
    return dict(found)


@functools.cache
def _trained(tied: bool) -> Path:
    transformers = needs("transformers", "transformers")
    import torch

    made = tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=made.get_vocab_size(),  # type: ignore[attr-defined]
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(config)
    lines = [f"{prompt} {word}" for prompt, _ in pairs(24) for word in WORDS]  # each word may follow
    made.enable_padding(pad_id=0)  # type: ignore[attr-defined]
    ids = torch.tensor([one.ids for one in made.encode_batch(lines)])  # type: ignore[attr-defined]
    made.no_padding()  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(40):
        part = ids[step * 16 % len(ids) :][:16]
        loss = network(input_ids=part, labels=part.masked_fill(part == 0, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = Path(tempfile.mkdtemp()) / "language"
    network.save_pretrained(folder)
    made.save(str(folder / "tokenizer.json"))  # type: ignore[attr-defined]
    return folder
