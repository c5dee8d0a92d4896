"""The lines that cards and commands print, run as they are printed: for every family, on every kind of file.

What they must give is what `hubft predict` computes: the logits of a picture that `decode` read.
"""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import nets
import numpy
import packages
import pytest
import torch
from commands import exit_code
from huggingface_hub import ModelCard
from loopback import github, hub
from loopback.stranger import checkout, start
from markdown_it import MarkdownIt
from PIL import ExifTags, Image
from safetensors.torch import load_file
from terminal import TOKEN, Terminal
from torch import Tensor

from hubft import Job, Preprocess
from hubft.families import plugins
from hubft.families.plugins import ROOT
from hubft.images.decode import decode
from hubft.images.rgb import lines as rgb_lines
from hubft.images.rgb import rgb
from hubft.publish import card, lines, package
from hubft.share import load, organisation

NETS = "me/nets"  # a torch.hub repository, whose code is foreign
TIP = 40 * "a"
FOREIGN = f"hub:{NETS}@main:small"
JOBS = {
    "timm": Job("timm:test_efficientnet.r160_in1k", "d"),
    "torchvision": Job("torchvision:shufflenet_v2_x0_5", "d", size=64),
    "pip": Job("pip:efficientnet_lite0", "d", size=64),
    "hub": Job(FOREIGN, "d", size=64),
    "toy": packages.toy_job(),
    "deep": packages.toy_job(),
}
"""A fine-tune of every family, and one of 12-bit grey."""
WHITE = {"deep": 4095}


def files(folder: Path) -> dict[str, Path]:
    """Return a file of every kind that looks another way if one of the lines forgets it."""
    colours = nets.picture(61, 47).resize((244, 188))
    grey, alpha = colours.convert("L"), Image.radial_gradient("L").resize(colours.size)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    deep = (numpy.asarray(grey).astype("uint16") << 4) + 7  # 12 bits
    coloured, key = (Image.merge("RGBA", (*colours.split(), alpha)), colours.convert("P"))
    pictures: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "turned.jpg": (colours, {"exif": exif}),
        "deep.png": (Image.fromarray(deep), {}),
        "deep.tif": (Image.fromarray(deep), {}),
        "grey.png": (grey, {}),
        "palette.png": (key, {}),
        "holes.png": (key, {"transparency": bytes(range(0, 256, 4))}),
        "key.png": (grey, {"transparency": int(numpy.median(numpy.asarray(grey)))}),
        "cmyk.jpg": (colours.convert("CMYK"), {}),
        "rgba.png": (coloured, {"exif": exif}),
        "la.png": (Image.merge("LA", (Image.new("L", colours.size), alpha)), {}),
    }
    for name, (picture, options) in pictures.items():
        picture.save(folder / name, **options)
    return {name: folder / name for name in pictures}


@dataclass
class Several(github.GitHub):
    """A GitHub with more than one repository."""

    others: list[github.GitHub] = field(default_factory=list)

    def answer(self, host: str, path: str) -> tuple[int, dict[str, str], bytes]:
        answers = [super().answer(host, path), *(other.answer(host, path) for other in self.others)]
        return next((answer for answer in answers if answer[0] != 404), answers[0])


@dataclass
class World:
    """Hubs on the loopback with a package of every family, and files to look at."""

    folder: Path
    models: hub.Hub
    repositories: "Several"
    environment: dict[str, str]
    pictures: dict[str, Path]
    cards: dict[str, str]
    """By the name of the package: its card as it lies on the Hub."""
    wanted: dict[str, dict[str, Tensor]]
    """By the name of the package and of the file: the logits."""

    def place(self, text: str, picture: Path) -> str:
        """Return printed lines with what they leave to the reader: where the checkout lies, and which picture."""
        text = text.replace(f'"{lines.PLACE}"', json.dumps(str(ROOT)))
        return text.replace('"image.jpg"', json.dumps(str(picture)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    torch_hub = folder / "torch" / "hub"
    torch_hub.mkdir(parents=True)
    (torch_hub / f"{NETS.replace('/', '_')}_main").symlink_to(nets.checkout(folder_of(folder / "nets")))
    pictures, cards, wanted = files(folder), {}, {}
    served = Several(NETS, {"main": TIP}, {}, {TIP: {"hubconf.py": nets.HUBCONF.encode()}})
    served.others.append(github.GitHub("org/hubft", {"main": TIP}, {}, {TIP: checkout()}))
    with hub.serving(hub.Hub(token=TOKEN)) as models, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        for name, job in JOBS.items():
            made = write(folder / "made" / name, job.with_outputs(3), WHITE.get(name, Preprocess.white))
            models.commit(f"me/{name}", package.stage(made, folder / name, f"me/{name}").folder)
            cards[name] = (folder / name / package.CARD).read_text(encoding="utf-8")
            wanted[name] = logits(made, pictures)
        with github.serving(served, folder):
            environment = served.environment | {
                "HF_ENDPOINT": models.url,
                "HF_HOME": str(folder / "hf"),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "TORCH_HOME": str(folder / "stranger"),
            }
            yield World(folder, models, served, environment, pictures, cards, wanted)


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


def write(folder: Path, job: Job, white: int) -> package.Package:
    """Write a package, and return it as one of a run whose 16-bit grey was white at that value."""
    packages.write(folder, job, pretrained=False)
    packages.rewrite(folder, lambda data: data["inputs"].update(white=white))
    return package.read(folder)


@torch.inference_mode()
def logits(made: package.Package, pictures: dict[str, Path]) -> dict[str, Tensor]:
    """Return what `hubft predict` computes of each file."""
    model: Any = load.model(made, trust=True)
    white = made.manifest.inputs.white
    return {name: model(model.preprocess(decode(path, white=white))[None]) for name, path in pictures.items()}


def blocks(text: str, language: str = "python") -> list[str]:
    return [t.content for t in MarkdownIt().parse(ModelCard(text).text) if t.type == "fence" and t.info == language]


# A stranger runs the blocks of each card in order: a block that loads a model once, with the first file, and for the
# others its lines from the logits on, which is what anyone does.
STRANGER = """
import json, sys, warnings
import torch
from commands import exit_code
from safetensors.torch import save_file
torch.set_num_threads(1)
todo, found = json.load(open("todo.json")), {}
for name, ways in todo.items():
    for way, (block, pixels) in ways.items():
        names = {}
        for number, (file, lines) in enumerate(pixels.items()):
            exec(lines, names)
            exec(block if not number else block[block.index("logits = "):], names)
            found[f"{name} {way} {file}"] = names["logits"].detach()
save_file(found, "found.safetensors")
"""


def run(world: World, todo: dict[str, dict[str, str]], environment: dict[str, str]) -> dict[str, Tensor]:
    """Return the logits by `NAME WAY FILE` that a fresh process gets by these ways to load, as cards print them."""
    given = {
        name: {
            way: (
                world.place(block, Path()),
                {file: world.place(blocks(world.cards[name])[0], path) for file, path in world.pictures.items()},
            )
            for way, block in ways.items()
        }
        for name, ways in todo.items()
    }
    (world.folder / "todo.json").write_text(json.dumps(given))
    here = [Path(entry) for entry in sys.path if entry]
    process = start(STRANGER, here, world.folder, environment)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return load_file(world.folder / "found.safetensors")


def test_the_files_are_those_that_a_plain_reading_gets_wrong(world: World) -> None:
    for name in ("turned.jpg", "deep.png", "deep.tif", "holes.png", "key.png", "rgba.png", "la.png"):
        with Image.open(world.pictures[name]) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on a palette with alpha
            assert image.convert("RGB").tobytes() != decode(world.pictures[name], white=4095).tobytes(), name


WAYS = {"timm": "timm.create_model", "torch.hub": "torch.hub.load", "hubft": "hubft.load("}
"""What marks the block of a card that loads by this way."""


def ways(text: str) -> dict[str, str]:
    """Return a card's blocks that load the model, by the way in which they do."""
    return {way: block for way, mark in WAYS.items() for block in blocks(text) if mark in block}


@pytest.fixture(scope="module")
def found(world: World, typed: dict[str, dict[str, str]]) -> dict[str, Tensor]:
    """The logits by `NAME WAY FILE` of all that is printed, in one process: torch is imported once."""
    told = {name: {way: after(line) for way, line in of.items()} for name, of in typed.items()}
    todo = {name: ways(text) | told.get(name, {}) for name, text in world.cards.items()}
    todo["toy"] |= {
        "organisation": readme(world.folder / "toy" / "models"),
        "github": ways(published(world))["torch.hub"],
    }
    found = run(world, todo, world.environment)
    assert len(found) == len(world.pictures) * sum(map(len, todo.values()))
    return found


def differing(world: World, found: dict[str, Tensor], *ways: str) -> list[str]:
    """Return which of the logits that were got by these ways are not those of `hubft predict`."""
    asked = {key: given for key, given in found.items() if key.split()[1] in ways}
    assert {key.split()[1] for key in asked} == set(ways)
    return [key for key, given in asked.items() if not torch.equal(given, world.wanted[key.split()[0]][key.split()[2]])]


def after(line: str) -> str:
    """Return what anyone does with a line that gives a model."""
    return f"import torch\nmodel = {line}\nlogits = model(model.preprocess(image)[None])\n"


def test_the_lines_of_a_card_give_what_predict_gives(world: World, found: dict[str, Tensor]) -> None:
    have = {way: {key.split()[0] for key in found if key.split()[1] == way} for way in WAYS}
    assert have == {"timm": {"timm", "pip"}, "torch.hub": set(JOBS), "hubft": set(JOBS)}
    assert differing(world, found, *WAYS) == []


def test_the_command_on_a_card_names_what_its_lines_find(world: World, server: str) -> None:
    user = terminal(world, server)
    for name, text in world.cards.items():
        [line] = [line for block in blocks(text, "bash") for line in block.splitlines() if " predict " in line]
        assert line.endswith(" --trust") == (name == "hub")
        for file in ["deep.png" if name == "deep" else "rgba.png"]:
            (user.work / "image.jpg").write_bytes(world.pictures[file].read_bytes())
            ran = user.run(*line.split()[1:])
            assert ran.code == 0, ran.err
            shares = world.wanted[name][file].softmax(1)[0].tolist()
            best = sorted(zip(shares, packages.CLASSES, strict=True), key=lambda one: -one[0])
            assert ran.out == f"image.jpg: {', '.join(f'{one} {share:.3f}' for share, one in best)}\n"


def terminal(world: World, server: str) -> Terminal:
    folder = world.folder / "user"
    folder.mkdir(exist_ok=True)
    kept = {name: value for name, value in world.environment.items() if name not in ("HF_HOME", "TORCH_HOME")}
    return Terminal(world.models, folder, server, **kept, TORCH_HOME=str(world.folder / "torch"))


def printed(out: str, label: str) -> str:
    [line] = [line for line in out.splitlines() if line.startswith(f"{label} ")]
    return line.removeprefix(label).strip()


@pytest.fixture(scope="module")
def typed(world: World, server: str) -> dict[str, dict[str, str]]:
    """The lines that push, pull and publish print, of a package that needs no trust and of one that does."""
    user, lines_of = terminal(world, server), {}
    for name in ("toy", "hub"):
        made, where, models = str(world.folder / "made" / name), f"me/pushed_{name}", world.folder / name / "models"
        pushed = user.run("push", made, where, "--public")
        pulled = user.run("pull", where, *(["--trust"] if name == "hub" else []))
        organisation.init(models)
        published = user.run("publish", made, "--as", "named", "--to", where, "--hub", str(models))
        assert (pushed.code, pulled.code, published.code) == (0, 0, 0), (pushed.err, pulled.err, published.err)
        line = printed(published.out, "next").partition("then ")[2].replace("OWNER/REPOSITORY", f"me/{name}_models")
        world.repositories.others.append(github.GitHub(f"me/{name}_models", {"main": TIP}, {}, {TIP: contents(models)}))
        lines_of[name] = {"push": printed(pushed.out, "load"), "pull": printed(pulled.out, "load"), "publish": line}
        assert all(("trust=True" in line) == (name == "hub") for line in lines_of[name].values())
        command = printed(pulled.out, "try")
        assert command.endswith(" --trust") == (name == "hub")
        (user.work / "IMAGE").write_bytes(world.pictures["turned.jpg"].read_bytes())
        tried = user.run(*command.split()[1:])
        assert tried.code == 0 and tried.out.startswith("IMAGE: "), tried.err
    return lines_of


def test_the_lines_that_push_pull_and_publish_print(world: World, found: dict[str, Tensor]) -> None:
    assert differing(world, found, "push", "pull", "publish") == []


def test_the_lines_in_the_readme_of_an_organisation(world: World, found: dict[str, Tensor]) -> None:
    assert differing(world, found, "organisation") == []


def readme(folder: Path) -> str:
    """Return the lines of its README, but that the picture is the one that was asked for."""
    [block] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert 'image = rgb(Image.open("image.jpg"), model.hubft["preprocess"]["white"])\n' in block
    block = block.replace("OWNER/REPOSITORY", "me/toy_models").replace('"NAME"', '"named"')
    return re.sub("image = rgb.*\n", "", block)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_finetune_says_to_try_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a fine-tune asks for trust, and where a folder's name has blanks."""
    import pictures

    data = pictures.folder(tmp_path / "data", ("ants", "bees"), 4, 2)
    monkeypatch.chdir(tmp_path)
    net = nets.checkout(folder_of(tmp_path / "nets"))
    options = ["--epochs", "0", "--size", "32", "--device", "cpu", "--workers", "0", "--output", "a run"]
    out = command(capsys, "finetune", f"hub:{net}:small", str(data), *options)
    line = printed(out, "try")
    assert line == "hubft predict 'a run' IMAGE --trust"
    (tmp_path / "IMAGE").write_bytes((data / "val" / "ants" / "0.png").read_bytes())
    assert command(capsys, "predict", "a run", *line.split()[4:]).startswith("IMAGE: ")


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = exit_code(*arguments)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out


def published(world: World) -> str:
    """Return the toy's card as it will be when pyproject.toml states a repository."""
    said = Message()
    said["Project-URL"] = "Documentation, https://example.org/docs"
    said["Project-URL"] = "Repository, https://github.com/org/hubft"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "metadata", lambda name: said)
        assert lines.here("me/toy@v1", trust=True) == (
            'torch.hub.load("org/hubft", "finetuned", "me/toy@v1", trust_repo=True, trust=True)'
        )
        return card.text(load.package(world.folder / "made" / "toy").manifest, "me/toy")


def test_where_hubft_has_a_repository_everything_follows(world: World, found: dict[str, Tensor]) -> None:
    """One line of pyproject.toml: then torch.hub loads from GitHub, without a question at the keyboard."""
    text = published(world)
    assert lines.PLACE not in text and "pip install git+https://github.com/org/hubft" in text
    assert world.repositories.others[0].name == "org/hubft" and differing(world, found, "github") == []


def test_without_a_repository_nothing_that_does_not_exist_is_named(world: World) -> None:
    for text in (*world.cards.values(), *documentation()):
        assert "org/hubft" not in text and "v0.1.0" not in text
        assert not re.search(r"pip install (-U )?hubft\b(?!-)", text)


def documentation() -> list[str]:
    own = (ROOT / "hubft" / "share" / "catalogue").glob("*/README.md")
    pages = [ROOT / "hubconf.py", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *own]
    return [path.read_text(encoding="utf-8") for path in pages]


def test_where_hubft_is_installed_without_its_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ROOT", tmp_path)
    packages.write(tmp_path / "p", packages.toy_job())
    names: dict[str, Any] = {}
    exec(lines.here(str(tmp_path / "p"), trust=False), names)
    assert names["model"].hubft["classes"] == list(packages.CLASSES)


@pytest.mark.parametrize("family", ["toy", "hub", "gone"])
def test_a_manifest_does_not_decide_whether_trust_is_asked_for(tmp_path: Path, family: str) -> None:
    """The family is asked; one that is not here may run anything."""
    assert plugins.foreign_code(family) == (family != "toy")
    packages.write(tmp_path / "p", packages.toy_job())
    made = package.read(tmp_path / "p").manifest
    text = card.text(with_base(made, f"{family}:small"), "me/x")
    told = f"Loading it runs the code of `{family}:small`, which is no part of this package" in text
    assert told == ("trust=True" in text) == ("--trust" in text) == (family != "toy")


def with_base(manifest: package.Manifest, reference: str) -> package.Manifest:
    return replace(manifest, base=replace(manifest.base, reference=reference))


def test_the_function_on_the_card_is_the_one_that_is_used() -> None:
    """Its default is that of `Preprocess`: two places that a stranger's copy keeps apart."""
    import inspect

    assert inspect.signature(rgb).parameters["white"].default == Preprocess.white
    names: dict[str, Any] = {"Image": Image, "ImageOps": __import__("PIL.ImageOps").ImageOps, "numpy": numpy}
    *source, last = rgb_lines(Preprocess.white)
    exec("\n".join(source), names)
    assert names["rgb"].__code__.co_code == rgb.__code__.co_code and last == 'image = rgb(Image.open("image.jpg"))'
    assert list(rgb_lines(4095))[-1] == 'image = rgb(Image.open("image.jpg"), white=4095)'
