"""Names that are traps, of a user's own folders and in a stranger's package: inert wherever they are shown."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import packages
import pictures
import pytest
from commands import check_lines, in_folder
from huggingface_hub import ModelCard
from loopback.hub import Hub, serving
from markdown_it import MarkdownIt
from PIL import Image
from terminal import TOKEN, Terminal

from hubft import Base, Job
from hubft.base.display import visible
from hubft.publish import markdown, package
from hubft.run.folder import Run

FOLDERS = (  # what a file system can hold
    " blanks ",
    "$\\frac{evil$",
    "--output",
    "---",
    "-rf",
    "=evil()",
    "<img src=x onerror=evil()>",
    "<script>evil()",
    "[evil](javascript:evil())",
    "[red]evil[",
    "\\",
    "`evil`` |",
    "a\u034f\u200b\u2060evil",
    "con",
    "http:evil.example",
    "evil@evil.example",
    "www.evil.example",
    "w" * 255,
    "![evil](evil.png)",
    ":skull:",
    "图 🐶",
)
# No class may have a name that a terminal obeys, that turns its line, or that shows nothing.
REFUSED = (
    "abc\u202egnp.evil",
    "line\nevil: forged\n---",
    "\x1b[31mevil\x1b]0;evil\x07\x7f",
    "\x9b31m\u2028evil\x85",
    "\u200b\u3164",
)
# And what it cannot: `OUTSIDE` becomes the path of a folder that is no business of hubft.
TEXTS = (".", "..", "../outside", "OUTSIDE", ".hidden", "w" * 10_000, "twice")
TEXTS += ("</table><script>evil()</script>", "[evil](https://evil.example)", "https://evil.example/", "x | y # evil")
DATA = os.fsdecode(b"da\xffta\n---\x1b[31m[evil](x)<b>\xe2\x80\xae|`")
HEADINGS = ["Load it", "Measured on held-out images", "Outputs", "Reproduce it"]
KEYS = {"library_name", "license", "pipeline_tag", "tags", "model-index"}


def check_card(text: str, keys: set[str] = KEYS) -> None:
    """Check that the metadata has only our keys, and that foreign names are in code spans and nowhere else."""
    assert {c for c in text if not c.isprintable() and c != "\n"} == set()
    found = ModelCard(text)
    facts: dict[str, Any] = found.data.to_dict()
    assert facts.keys() == keys
    assert facts["pipeline_tag"] == "image-classification" and facts["library_name"] == "hubft"
    tokens = MarkdownIt().enable("table").parse(found.text)
    heads = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    several = "| `balanced accuracy` |" in text  # one number alone stands in the first lines
    assert heads[1:] == [head for head in HEADINGS if several or "Measured" not in head]
    assert heads[0].startswith("`toy:small` fine-tuned on `")
    parts = [part for token in tokens for part in (token.children or [token])]
    kinds = {part.type for part in parts}
    assert kinds <= {"text", "code_inline", "strong_open", "strong_close", "image", "softbreak", "inline", "fence"} | {
        f"{kind}_{end}"
        for kind in ("paragraph", "heading", "table", "thead", "tbody", "tr", "th", "td")
        for end in ("open", "close")
    }
    assert [part.attrs["src"] for part in parts if part.type == "image"] in ([], [package.PICTURE])
    for part in parts:
        if part.type not in ("code_inline", "fence"):
            assert not re.search(r"evil|forged|www|://.*evil|<|skull", part.content), part.content
    rows = [part for part in parts if part.type == "tr_open"]
    assert len([part for part in parts if part.type in ("td_open", "th_open")]) <= 3 * len(rows)


class Trained(NamedTuple):
    work: Path
    run: Path
    data: Path
    out: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that the command made of such folders, in a folder that it named itself."""
    work = tmp_path_factory.mktemp("work")
    data = pictures.folder(work / DATA, FOLDERS, 2, 1)
    options = ["--epochs", 1, "--batch-size", 25, "--workers", 0, "--train", "head"]
    ran = in_folder(work, "finetune", "toy:small", data, *options)
    assert (ran.code, ran.err) == (0, "")
    [run] = (work / "runs").iterdir()
    return Trained(work, run, data, ran.out)


def test_a_run_tells_of_itself_in_lines_of_its_own(trained: Trained) -> None:
    assert re.fullmatch(r"[\w.-]+", trained.run.name), "the run's folder is named after the data's"
    assert f"of {len(FOLDERS)} classes" in trained.out
    assert "evil" in trained.out, "the data's folder is named, and inert"


def test_names_are_no_files_of_the_run(trained: Trained) -> None:
    names = {path.name for path in trained.run.rglob("*") if "checkpoints" not in path.parts}
    names = {name for name in names if not re.fullmatch(r"(mistake|looked|view)-\d\d\.jpg", name)}
    assert names == {
        "job.json",
        "data.json",
        "plan.json",
        "metrics.jsonl",
        "report",
        "package",
        "results.json",
        "curves.png",
        "confusion.png",
        "index.html",
        "facts.json",
        "outcomes.safetensors",
        "samples",
    } | {
        *(package.MANIFEST, package.WEIGHTS, package.SELFTEST, package.CARD, package.PICTURE),
    }


def test_what_a_run_writes_can_be_shown(trained: Trained) -> None:
    for name in ("job.json", "metrics.jsonl", "report/results.json", "package/hubft.json", "package/README.md"):
        text = (trained.run / name).read_text(encoding="utf-8")
        assert {c for c in text if not c.isprintable() and c not in "\n\x7f"} == set(), name
    results = json.loads((trained.run / "report" / "results.json").read_text(encoding="utf-8"))
    manifest = json.loads((trained.run / "package" / "hubft.json").read_text(encoding="ascii"))
    assert results["classes"] == manifest["task"]["classes"] == sorted(FOLDERS), "data is data, whatever it is"
    assert manifest["job"]["data"] == DATA
    for name in ("report/curves.png", "report/confusion.png", "package/picture.png"):
        with Image.open(trained.run / name) as image:
            image.load()
            assert image.format == "PNG" and max(image.size) < 4000


def test_the_card_of_a_run(trained: Trained) -> None:
    text = (trained.run / "package" / package.CARD).read_text(encoding="utf-8")
    check_card(text)
    for i, name in enumerate(sorted(FOLDERS)):
        assert f"\n| {i} | {markdown.inert(name)} | " in text


def test_commands_on_the_run(trained: Trained) -> None:
    image = trained.data / "val" / "con" / "0.png"
    for command in (
        ["evaluate", trained.run, trained.data],
        ["evaluate", trained.run, trained.data, "--matrix"],
        ["predict", trained.run, image, "--top", len(FOLDERS)],
        ["predict", trained.run, trained.data, "--top", len(FOLDERS)],
    ):
        ran = in_folder(trained.work, *command)
        assert (ran.code, ran.err) == (0, "")
        assert [name for name in FOLDERS if visible(name, 24).strip(" …") not in ran.out] == [], "nothing is swallowed"
    assert in_folder(trained.work, "show", trained.run).code == 0
    ran = in_folder(trained.work, "predict", trained.run, image, "--json")
    found = json.loads(ran.out)
    assert ran.out.isascii() and ran.out.count("\n") == 1
    assert set(found["probabilities"]) == set(FOLDERS) and found["image"] == str(image)


def test_errors_that_quote_names(trained: Trained) -> None:
    other = pictures.folder(trained.work / "other", ("line\nevil", "\x1b[31m"), 1, 1)
    for command in (
        ["evaluate", trained.run, other],
        ["predict", trained.run, trained.work / "\x1b[31mevil\nevil"],
        ["finetune", "toy:small", trained.data / "\x9bevil\u202e"],
        ["finetune", "toy:\x1b[31m\nevil", trained.data],
        ["finetune", "--resume", trained.run],
    ):
        ran = in_folder(trained.work, *command)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_a_run_s_own_name_is_one_that_a_file_system_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("w" * 255, "図" * 85, "../..", "\udcff", " ", "con\n"):
        folder = Run.create(Job("toy:small", name)).folder
        assert folder.parent == Path("runs") and re.fullmatch(r"small[\w.-]*", folder.name)


# ---- a stranger's package --------------------------------------------------------------------------


class Stranger(NamedTuple):
    package: Path
    classes: tuple[str, ...]
    data: Path


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    """A package whose every text is a trap, and pictures of two of its classes beside a folder of somebody's."""
    outside = pictures.folder(tmp_path / "outside" / "holiday", ("a", "b"), 2, 0) / "train"
    classes = tuple(str(outside) if name == "OUTSIDE" else name for name in (*TEXTS, *FOLDERS))
    packages.write(tmp_path / "p", packages.toy_job().with_outputs(len(classes)), classes)

    def change(data: dict[str, Any]) -> None:
        data["job"]["data"] = DATA + "w" * 10_000
        data["base"] |= {"license": "evil\n---", "hub": "../evil\x1b", "revision": "<b>evil</b>|"}
        data["versions"] = {"<i>evil": "[evil](x)", "": "\x1b", **{f"evil {i}": "1" for i in range(1000)}}
        data["data"] = {"train": {"samples": "<b>evil", "sha256": "`|evil"}, "val": ["evil"], "evil|": {"evil": "\x1b"}}
        data["frozen"] = {"tensors": "![evil](x)"}
        data["metrics"] = {"accuracy": {"value": "\x1b[31m", "low": 1, "high": 1, "n": "evil"}, "recall": ["<b>"]}

    packages.rewrite(tmp_path / "p", change)
    data = pictures.folder(tmp_path / "data", ("twice", ":skull:"), 1, 2)
    for name in (".hidden", "con"):
        shutil.copytree(data / "val" / "twice", data / "val" / name)
    return Stranger(tmp_path / "p", classes, data)


def test_no_class_of_a_stranger_is_a_path(stranger: Stranger, tmp_path: Path) -> None:
    ran = in_folder(tmp_path, "evaluate", stranger.package, stranger.data, "--matrix")
    assert (ran.code, ran.err) == (0, "")
    assert ": 6 images" in ran.out, "two each of twice, :skull: and con; none of a folder outside, none twice"


@pytest.mark.parametrize("name", [*REFUSED, "", "a\0b", "\udcff", "x | y\r\n# evil", "twice"])
def test_a_stranger_s_name_that_cannot_be_shown_or_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    packages.write(tmp_path / "p", packages.toy_job(), ("ant", "bee", "twice"))
    packages.rewrite(tmp_path / "p", lambda data: data["task"].update(classes=[name, "bee", "twice"]))
    ran = in_folder(tmp_path, "show", tmp_path / "p")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("hubft: hubft.json: the name of the class '") or "2 class names are 'twice'" in ran.err


@pytest.mark.parametrize("name", REFUSED)
def test_such_a_name_is_told_before_a_run_is_made(tmp_path: Path, name: str) -> None:
    data = pictures.folder(tmp_path / "data", ("ant", name), 1, 1)
    ran = in_folder(tmp_path, "finetune", "toy:small", data, "--output", "run")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1) and ran.err.endswith(": rename it\n")
    assert not (tmp_path / "run").exists()


def test_predictions_name_every_class(stranger: Stranger, tmp_path: Path) -> None:
    image = stranger.data / "val" / "con" / "0.png"
    ran = in_folder(tmp_path, "predict", stranger.package, image, "--json")
    shares = json.loads(ran.out)["probabilities"]
    assert ran.out.isascii() and set(shares) == set(stranger.classes)
    assert sum(shares.values()) == pytest.approx(1) and list(shares.values()) == sorted(shares.values(), reverse=True)
    assert in_folder(tmp_path, "predict", stranger.package, image, "--top", len(stranger.classes)).code == 0
    assert in_folder(tmp_path, "show", stranger.package).code == 0


@pytest.mark.parametrize("where", ["same_as", "reference"])
def test_a_stranger_names_no_distribution_to_install(where: str, tmp_path: Path) -> None:
    """What pip is told to install is said by what is installed; a file is asked for no name."""
    delta = packages.toy_job(package="delta")
    packages.write(tmp_path / "p", delta, base=Base("toy:remote", requires="evil-wheel", same_as=("evil:x",)))
    if where == "reference":
        for part in ("job", "base"):
            packages.rewrite(tmp_path / "p", lambda data, part=part: data[part].update(reference="evil_one:x"))
    image = pictures.folder(tmp_path / "data", ("a", "b"), 1, 1) / "val" / "a" / "0.png"
    commands = [["predict", "p", image], ["evaluate", "p", pictures.folder(tmp_path / "own", packages.CLASSES, 1, 1)]]
    commands += [["show", "p"]] if where == "reference" else []
    for command in commands:
        ran = in_folder(tmp_path, *command)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert "Ask whoever made the package" in ran.err, ran.err
        assert not re.search(r"pip install|hubft-|evil-", ran.err), ran.err


def test_a_command_that_holds_a_stranger_s_reference_is_quoted(tmp_path: Path) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    evil = "timm:test_vit.r160_in1k@$(evil)"
    packages.rewrite(
        tmp_path / "p", lambda data: (data["job"].update(reference=evil), data["base"].update(reference=evil))
    )
    ran = in_folder(tmp_path, "show", "p", "--train", "match:zzz")
    assert ran.code == 2 and f"`hubft show '{evil}'` lists the stages" in ran.err


def test_pushed_and_pulled(stranger: Stranger, tmp_path: Path, server: str) -> None:
    with serving(Hub(token=TOKEN)) as hub:
        (tmp_path / "user").mkdir()
        user = Terminal(hub, tmp_path / "user", server)
        pushed = user.run("push", str(stranger.package), "me/toys")
        assert pushed.code == 0, pushed.err
        files = hub.files("me/toys")
        assert set(files) - {".gitattributes"} == {path.name for path in stranger.package.iterdir()}
        check_card(files[package.CARD].decode(), (KEYS | {"license_name"}) - {"model-index"})
        assert len(files[package.CARD]) < 10_000, "a thousand versions are not listed"
        check_lines("".join(hub.messages.values()))
        pulled = user.run("pull", "me/toys", "--output", "copy")
        assert pulled.code == 0, pulled.err
    check_lines(pushed.out + pulled.out)
    assert package.read(user.work / "copy").manifest.task.names == stranger.classes
