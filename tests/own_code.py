"""A tiny model of texts whose code lies beside its weights, made at test time."""

import json
import shutil
from pathlib import Path

import texts
from extras import needs

CONFIGURATION = """
from transformers import PreTrainedConfig


class OwnConfig(PreTrainedConfig):
    model_type = "own-texts"

    def __init__(self, vocab_size=19, width=16, blocks=2, pad_token_id=0, **more):
        self.vocab_size, self.width, self.blocks = vocab_size, width, blocks
        super().__init__(pad_token_id=pad_token_id, **more)
"""
LAYERS = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(self.up(x).tanh())
"""
MODELING = """
import os

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_own import OwnConfig
from .layers_own import Block

with open(os.environ["OWN_CODE_RAN"], "a") as file:
    file.write("ran\\n")


class OwnBase(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "body"

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(0.0, 0.3)


class OwnModel(OwnBase):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.blocks))
        self.post_init()

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        mask = attention_mask[:, :, None].to(x.dtype)
        return (x * mask).sum(1) / mask.sum(1)


class OwnForSequenceClassification(OwnBase):
    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.body = OwnModel(config)
        self.classifier = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=self.classifier(self.body(input_ids, attention_mask)))
"""
FILES = ("configuration_own.py", "layers_own.py", "modeling_own.py")
RAN = "OWN_CODE_RAN"
"""Variable of the environment with the file in which the code notes that it runs."""


def model(folder: Path) -> Path:
    """Return a folder with a model of random weights, its tokenizer, and the code that builds it."""
    torch, safetensors = needs("torch", "transformers"), needs("safetensors.torch", "transformers")
    texts.model(folder.parent / "bert")
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder.parent / "bert" / name, folder / name)
    for name, text in zip(FILES, (CONFIGURATION, LAYERS, MODELING), strict=True):
        (folder / name).write_text(text)
    own = {"AutoConfig": "configuration_own.OwnConfig"}
    own["AutoModelForSequenceClassification"] = "modeling_own.OwnForSequenceClassification"
    facts = {"model_type": "own-texts", "vocab_size": 18, "width": 16, "blocks": 2, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(facts | {"auto_map": own}))
    torch.manual_seed(0)
    shapes = {"embed.weight": (18, 16)}
    for i in range(2):
        shapes |= {f"blocks.{i}.up.weight": (32, 16), f"blocks.{i}.up.bias": (32,)}
        shapes |= {f"blocks.{i}.down.weight": (16, 32), f"blocks.{i}.down.bias": (16,)}
    weights = {f"body.{name}": 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    safetensors.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
