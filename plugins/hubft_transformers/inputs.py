"""What a model of transformers takes: texts by its tokenizer, images by its processor."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from torch import nn

from hubft.base.errors import FamilyError, JobError, Option, reason
from hubft.base.quiet import quiet
from hubft.families.build import ASKED
from hubft.inputs import Documents, Images, Inputs, Text, Words
from hubft.publish.manifest import PREPROCESSOR, TOKENIZER_CONFIG
from hubft.text import tokenizer, tokens
from hubft.text.tokenizer import Carried
from hubft_transformers import language, models
from hubft_transformers.models import Use

LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length")
LENGTH = 2**20  # tokens, of a model that says no limit: a run takes as many as its texts need
SIDE = 224  # pixels, of a model that says none: its package does
RESAMPLE: Mapping[int, str] = MappingProxyType(
    {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
)
"""Of a processor, by the numbers of Pillow."""
SIDES = ("height", "width")
DIVISOR = 32  # of a side of a detector's input: its features are halved five times
WHOLE = 384  # pixels: from there on ConvNeXt's processor cuts nothing off


def of(reference: str, folder: Path, use: Use) -> Carried | Images:
    """Return what a model's folder says of its inputs.

    :raises FamilyError: it does not say it, or what is not supported.
    """
    if use.takes != Images.kind:
        return tokenizer.of(folder, reference)
    return _images(reference, folder, whole=use not in models.CLASSIFIERS)


def unknown(model: Any, kind: str) -> Carried | Images:
    """Return what stands for the inputs of a model whose package states them."""
    if kind != Images.kind:
        return Carried("", LENGTH, None)
    side = getattr(model.config, "image_size", None)
    side = side if type(side) is int else SIDE
    return Images((side, side), side)


def fitted(reference: str, model: Any, carried: Carried | Images, kind: str) -> Inputs:
    """Return the inputs of a model; one of texts gets the token that fills up, if it has none.

    :raises FamilyError: neither it nor its tokenizer has one.
    """
    if isinstance(carried, Images):
        return carried
    config = model.config
    if config.pad_token_id is None:
        its = (carried.padding, config.eos_token_id, carried.end)
        config.pad_token_id = next((number for number in its if number is not None), None)
    if config.pad_token_id is None and carried.text:
        raise FamilyError(
            f"{reference}: neither its config nor its tokenizer has a token that fills up short texts: set pad_token "
            "in its tokenizer_config.json"
        )
    types = (
        getattr(config, "type_vocab_size", 0) > 1 and "token_type_ids" in inspect.signature(model.forward).parameters
    )
    text = Text(carried.text, min(carried.most, _positions(model)), config.pad_token_id or 0, types)
    if kind == Words.kind:
        return Words(text.tokenizer, text.length, text.padding, types)
    return language.documents(reference, model, carried, text) if kind == Documents.kind else text


def _positions(model: Any) -> int:
    """Return how many tokens a model has positions for; RoBERTa's table begins behind its padding token."""
    stated = [value for key in LENGTHS if isinstance(value := getattr(model.config, key, None), int) and value > 0]
    tables = [m for n, m in model.named_modules() if n.endswith("position_embeddings") and isinstance(m, nn.Embedding)]
    taken = [table.num_embeddings - table.padding_idx - 1 for table in tables if table.padding_idx is not None]
    return min([*stated, *taken], default=LENGTH)


# ---- images ------------------------------------------------------------------------------------------


def _images(reference: str, folder: Path, whole: bool) -> Images:
    if not (folder / PREPROCESSOR).is_file():
        raise FamilyError(f"{reference} has no {PREPROCESSOR}, which says how an image becomes its input")
    try:
        json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))["image_processor_type"]
        with quiet():
            known = transformers.AutoImageProcessor
            processor = known.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        stated: dict[str, Any] = processor.to_dict()
        return _stated(stated, whole)
    except FamilyError as error:
        raise FamilyError(f"{reference}: its {PREPROCESSOR} {error}") from error
    except Exception as error:  # whatever a class says of values that are none
        raise FamilyError(f"{reference}: its {PREPROCESSOR} cannot be used: {reason(error)}") from error


def _stated(stated: Mapping[str, Any], whole: bool) -> Images:
    """Return what an image processor does, from the values that it runs by.

    :param whole: nothing of an image may be cut off: where the processor keeps its proportions, it lies in a square.

    :raises FamilyError: steps that hubft does not do; as the end of a sentence.
    """
    scaled = stated.get("do_rescale", True) and abs(stated.get("rescale_factor", 0) * 255 - 1) < 1e-3
    if not scaled or not stated.get("do_resize", True):
        raise FamilyError("asks for pixels that are not scaled to [0, 1], or for images of any size")
    size, crop = stated["size"], stated.get("crop_size") if stated.get("do_center_crop") else None
    shortest = size.get("shortest_edge")
    pair = None if shortest else (size["height"], size["width"])
    resize: Any
    fit = ""
    if whole and shortest:
        side = -(-shortest // DIVISOR) * DIVISOR
        cut, resize, fit = (side, side), (side, side), "border"
    elif "crop_pct" in stated:  # ConvNeXt
        cut = (shortest, shortest)
        resize = int(shortest / stated["crop_pct"]) if shortest < WHOLE else cut
    else:
        cut = (crop["height"], crop["width"]) if crop else pair or (shortest, shortest)
        resize = shortest or pair
    fit = fit or ("squash" if isinstance(resize, tuple) else "center")
    normal = stated.get("do_normalize", True)
    return Images(
        size=cut,
        resize=resize,
        crop=fit,
        interpolation=RESAMPLE[int(stated.get("resample", 2))],
        mean=tuple(stated["image_mean"]) if normal else (0.0, 0.0, 0.0),
        std=tuple(stated["image_std"]) if normal else (1.0, 1.0, 1.0),
    )


def require_size(model: nn.Module, reference: str, images: Images) -> None:
    """Refuse a `--size` that the model cannot take, by a pass on one image.

    :raises JobError: its positions are those of one size.
    """
    side = ASKED.get()
    if not side or (side, side) == images.size:
        return
    try:
        with torch.no_grad():
            models.logits(model.eval(), torch.zeros(1, 3, side, side))
    except (ValueError, RuntimeError) as error:
        raise JobError(Option("size"), f" {side}: {reference} takes {images} alone: {reason(error)}") from error


def processor(inputs: Images) -> dict[str, Any]:
    """Return a preprocessor_config.json by which transformers makes the same of an image."""
    resize = inputs.resize
    return {
        "image_processor_type": "BitImageProcessor",  # that has each of these steps
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": resize} if isinstance(resize, int) else _pair(resize),
        "resample": next(number for number, name in RESAMPLE.items() if name == inputs.interpolation),
        "do_center_crop": True,
        "crop_size": _pair(inputs.size),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(inputs.mean),
        "image_std": list(inputs.std),
    }


def _pair(size: tuple[int, int]) -> dict[str, int]:
    return dict(zip(SIDES, size, strict=True))


def tokenizes(inputs: Inputs) -> dict[str, dict[str, Any]]:
    """Return the tokenizer_config.json by which AutoTokenizer makes the token ids of the run, by its name; nothing
    where the package states its tokenizer later."""
    if not isinstance(inputs, Text) or not inputs.tokenizer:
        return {}
    sides = {"padding_side": "right", "truncation_side": "right"}
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": inputs.length, **sides}
    facts["model_input_names"] = list(inputs.arrays)
    token = tokens.tokenizer(inputs).id_to_token(inputs.padding)
    return {TOKENIZER_CONFIG: facts | ({"pad_token": token} if token is not None else {})}
