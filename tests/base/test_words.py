"""Hints: near misses are answered with the word that was meant, and what is far from all words with none."""

import re

import pytest
from commands import exit_code

from hubft.base.errors import suggest

COMMANDS = ("finetune", "evaluate", "predict", "show", "demo", "push", "pull", "families", "publish", "catalogue")
OPTIONS = (
    "train",
    "probe",
    "epochs",
    "budget",
    "batch-size",
    "accumulate",
    "optimizer",
    "lr",
    "body-lr",
    "layer-decay",
)
OPTIONS += ("stage-lr", "weight-decay", "schedule", "warmup", "clip", "averaging", "smoothing", "augment", "views")
OPTIONS += ("seed", "device", "precision", "compile", "threads", "workers", "cache", "size", "holdout", "compress")
OPTIONS += ("package", "output", "hidden", "dropout", "resume")
FLAGS = tuple("--" + option for option in OPTIONS)
FAMILIES = ("hub", "pip", "timm", "torchvision", "toy")
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "head", "block", "all", "last", "stage", "type", "match")
OPTIMIZERS = ("adam", "adamw", "nadam", "sgd", "sgdw", "lion", "lamb", "rmsprop", "adagrad", "adadelta", "muon")
MODELS = ("resnet18", "resnet50", "efficientnet_b0", "vit_base_patch16_224", "convnext_tiny", "mobilenetv3_large_100")

NEAR = [
    *((COMMANDS, *pair) for pair in (("finetun", "finetune"), ("fine-tune", "finetune"), ("evalute", "evaluate"))),
    *((COMMANDS, *pair) for pair in (("familes", "families"), ("catalog", "catalogue"))),
    *((FLAGS, *pair) for pair in (("--epoch", "--epochs"), ("--batchsize", "--batch-size"), ("--ouput", "--output"))),
    *((FLAGS, *pair) for pair in (("--optmizer", "--optimizer"), ("--num-workers", "--workers"), ("--sise", "--size"))),
    *((FAMILIES, *pair) for pair in (("timn", "timm"), ("tim", "timm"), ("torchvison", "torchvision"))),
    *((STAGES, *pair) for pair in (("stm", "stem"), ("layr4", "layer4"), ("heads", "head"), ("blok", "block"))),
    *((OPTIMIZERS, *pair) for pair in (("adamv", "adamw"), ("adm", "adam"), ("rmsprp", "rmsprop"))),
    *((MODELS, *pair) for pair in (("resnet_18", "resnet18"), ("efficientnetb0", "efficientnet_b0"))),
    (("none", "bf16"), "bf61", "bf16"),
]
FAR = [
    *((FLAGS, word) for word in ("--lr-find", "--gpu", "--verbose", "--momentum", "--model", "--fold", "--patience")),
    *((COMMANDS, word) for word in ("train", "test", "list", "export", "help")),
    *((FAMILIES, word) for word in ("keras", "huggingface", "torch", "transformers")),
    *((STAGES, word) for word in ("backbone", "neck", "conv1", "encoder")),
    *((OPTIMIZERS, word) for word in ("newton", "kfac")),
    *((MODELS, word) for word in ("llama", "gpt2", "bert", "yolov8n")),
    (("none", "bf16"), "int8"),
]


@pytest.mark.parametrize(("known", "word", "meant"), NEAR, ids=[word for _, word, _ in NEAR])
def test_a_slip_is_answered_with_the_word_that_was_meant(known: tuple[str, ...], word: str, meant: str) -> None:
    assert suggest(word, known) in (f" Did you mean {meant!r}?", " Did you mean 'adam'?"), word


@pytest.mark.parametrize(("known", "word"), FAR, ids=[word for _, word in FAR])
def test_what_is_far_from_all_words_gets_no_hint(known: tuple[str, ...], word: str) -> None:
    assert suggest(word, known) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("finetune timm:x d --lr-find", "Unknown option: --lr-find."),
        ("finetune timm:x d --gpus 1", "Unknown option: --gpus."),
        ("finetune timm:x d --epoch 3", "Unknown option: --epoch. Did you mean --epochs?"),
        ("finetune timm:x d --num-workers 3", "Unknown option: --num-workers. Did you mean --workers?"),
        ("pretrain timm:x d", 'Unknown command "pretrain".'),
        ("evalute p d", 'Unknown command "evalute". Did you mean "evaluate"?'),
        (
            "finetune timm:x d --schedule consten",
            '"one-cycle", "constant". Did you mean "constant"?',
        ),
        ("finetune timm:x d --schedule warm", '"polynomial", "step", "one-cycle", "constant".'),
        ("finetune timm:x d --augment string", 'light", "standard", "strong". Did you mean "strong"?'),
        ("finetune timm:x d --augment norm", '"auto", "none", "light", "standard", "strong".'),
    ],
)
def test_the_command_line_hints_no_further(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = exit_code(*line.split()), capsys.readouterr().err
    assert code == 2 and re.search(re.escape(said) + r"\s+(Available|$)", told), told
