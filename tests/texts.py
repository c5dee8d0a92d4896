"""Texts with labels and a tiny model of them, made at test time."""

import csv
import json
import random
from pathlib import Path

from extras import needs

NOUNS = ("film", "book", "song", "meal", "room")
WORDS = {"good": ("lovely", "great", "warm", "bright"), "bad": ("dull", "cold", "awful", "grey")}
LABELS = tuple(sorted(WORDS))


def rows(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return so many (text, label), which a word of each text tells."""
    draw = random.Random(seed)
    found = []
    for i in range(number):
        label = LABELS[i % 2]
        words = [draw.choice(NOUNS) for _ in range(draw.randint(2, 9))]
        words.insert(draw.randrange(len(words)), draw.choice(WORDS[label]))
        found.append((" ".join(["the", *words]), label))
    return found


def table(path: Path, number: int = 80, more: tuple[tuple[str, str], ...] = ()) -> Path:
    """Return a new CSV of texts with labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows(number), *more])
    return path


def model(folder: Path, kind: str = "bert", **config: object) -> Path:
    """Return a folder with a model of random weights, without a head, and a tokenizer of the words above.

    :param kind: `model_type` of its config.
    """
    transformers = needs("transformers", "transformers")
    tokenizers = needs("tokenizers", "transformers")
    import torch

    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", *NOUNS, *WORDS["good"], *WORDS["bad"]]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    facts = {"vocab_size": len(known), "max_position_embeddings": 40, **sizes, **config}
    made_of = transformers.AutoConfig.for_model(kind, **facts)
    transformers.AutoModel.from_config(made_of).save_pretrained(folder)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 32, "pad_token": "[PAD]"}))
    return folder
