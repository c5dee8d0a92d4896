"""The way from GitHub: torch.hub itself, unpatched, in a process where hubft is not installed.

A proxy on the loopback answers for GitHub (`loopback/github.py`), and the process sees links to everything that is
installed here but hubft and timm.
"""

import hashlib
import importlib.util
import json
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import packages
import pytest
import torch
from loopback import github, hub
from loopback.stranger import HIDDEN, NOT_INSTALLED, ROOT, altered, checkout, run, site

import hubft
from hubft import Head, Job
from hubft.base import digest
from hubft.base.errors import HubftError
from hubft.publish import package
from hubft.share import catalogue
from hubft.share.load import entry

SERIES = hubft.__version__.rpartition(".")[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[github.GitHub]:
    """The checkout on `GitHub`: as an old commit, as main with a toy entry more, as tag v1.0, as a newer
    version of the series, v2, and as a next series."""
    folder = tmp_path_factory.mktemp("github")
    files = checkout()
    records = json.loads(files["hubft/share/catalogue.json"])
    records["toy_ft"] = {"description": "A toy.", "reference": "toy:small"}
    packages.write(folder / "toy_ft", packages.toy_job(package="delta"))
    with_toy = {
        **files,
        "hubft/share/catalogue.json": json.dumps(records).encode(),
        **{f"hubft/share/catalogue/toy_ft/{p.name}": p.read_bytes() for p in (folder / "toy_ft").iterdir()},
    }
    following = altered(files, "hubft/__init__.py", '__version__ = "0.', '__version__ = "77.')
    newer = altered(files, "hubft/__init__.py", f'"{hubft.__version__}"', f'"{SERIES}.99"')
    old, new, tagged, last, second = (digit * 40 for digit in "abcde")
    repository = github.GitHub(
        "org/hubft",
        branches={"main": new, "next": last},
        tags={"v1.0": tagged, "v2": second},
        commits={old: files, new: with_toy, tagged: with_toy, last: following, second: newer},
    )
    with github.serving(repository, folder):
        yield repository


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site(tmp_path_factory.mktemp("bare") / "site")


def test_every_kind_of_ref_lists_helps_and_loads(
    served: github.GitHub, bare: Path, toy_site: Path, tmp_path: Path
) -> None:
    code = (
        NOT_INSTALLED
        + """
found = {"list": torch.hub.list("org/hubft", trust_repo=True)}
found["help"] = torch.hub.help("org/hubft", "toy_ft")
found["classes"] = torch.hub.load("org/hubft", "resnet50_ft", pretrained=False, num_classes=3).fc.out_features
tip = "b" * 40
bias = [torch.hub.load(f"org/hubft{ref}", "toy_ft").head.bias.tolist() for ref in ("", ":main", ":v1.0", ":" + tip)]
found["same"] = all(b == bias[0] for b in bias)
old = "a" * 40
try:
    torch.hub.load("org/hubft:" + old, "resnet50_ft")
except ValueError as error:
    found["no tip"] = str(error)
found["old"] = torch.hub.list("org/hubft:" + old, skip_validation=True)
try:
    torch.hub.load("org/hubft:next", "toy_ft")
except RuntimeError as error:
    found["next has no toy"] = str(error)
try:
    torch.hub.load("org/hubft:next", "resnet50_ft", pretrained=False)
except ImportError as error:
    found["next"] = str(error)
try:
    torch.hub.load("org/hubft", "efficientnet_lite0_ft", num_classes=3)
except Exception as error:
    found["no timm"] = f"{type(error).__name__}: {error}"
found["path"] = [p for p in sys.path if "torch/hub" in p]
print("\\n" + json.dumps(found))
"""
    )
    output = run(code, [bare, toy_site], tmp_path, served.environment)
    found = json.loads(output.splitlines()[-1])
    assert found["list"] == ["efficientnet_lite0_ft", "finetuned", "resnet50_ft", "toy_ft"]
    assert "A toy." in found["help"] and "90.0 % (95 % interval 80.0 to 95.0 %, 40 images)" in found["help"]
    assert "hubft finetune toy:small DATA --package delta" in found["help"]
    assert found["classes"] == 3 and found["same"]
    assert "Cannot find aaaa" in found["no tip"]
    assert found["old"] == ["efficientnet_lite0_ft", "finetuned", "resnet50_ft"]
    assert "Cannot find callable toy_ft" in found["next has no toy"]
    assert "org_hubft_main" in found["next"] and "org_hubft_next" in found["next"] and "fresh process" in found["next"]
    assert found["no timm"].startswith("FamilyError") and "pip install timm" in found["no timm"]
    assert not found["path"]
    assert served.downloads


def test_a_published_entry_by_branch_tag_and_sha(bare: Path, tmp_path: Path) -> None:
    """`torch.hub.load("org/hubft", "resnet50_ft", trust_repo=True)`, as it stands in the documentation."""
    job = Job("torchvision:resnet50", "d", head=Head(outputs=3), compress="bf16")
    trained = packages.write(tmp_path / "resnet50_ft", job, pretrained=False)
    where = "hubft/share/catalogue/resnet50_ft"
    files = checkout() | {f"{where}/{p.name}": p.read_bytes() for p in (tmp_path / "resnet50_ft").iterdir()}
    tip, tagged = "b" * 40, "c" * 40
    commits = {tip: files, tagged: files}
    repository = github.GitHub("org/hubft", branches={"main": tip}, tags={"v1.0": tagged}, commits=commits)
    code = (
        NOT_INSTALLED
        + """
for ref in ("", ":v1.0", ":" + "b" * 40):
    model = torch.hub.load("org/hubft" + ref, "resnet50_ft", trust_repo=True)
    assert type(model).__module__ == "torchvision.models.resnet" and not model.training
    assert model.hubft["classes"] == ["ant", "bee", "cat"]
    assert model.preprocess is not None
    print("\\n" + json.dumps([model.fc.weight.detach().sum().item(), model.conv1.weight.detach().sum().item()]))
"""
    )
    with github.serving(repository, tmp_path):
        output = run(code, [bare], tmp_path, repository.environment)
    sums = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
    state = trained.state_dict()
    assert sums == [[state["fc.weight"].sum().item(), state["conv1.weight"].sum().item()]] * 3


WORKER = """
import torch
from PIL import Image

def look(model):
    image = Image.radial_gradient("L").resize((300, 200))
    with torch.inference_mode():
        return model(model.preprocess(image)[None])[0].tolist(), model.hubft["classes"]

def compare(rank, model, expected):
    try:
        import hubft
    except ModuleNotFoundError:
        logits, classes = look(model)
        assert classes == expected[1]
        # where the weights lie in memory, mapped or shared, may change the last bits
        torch.testing.assert_close(torch.tensor(logits), torch.tensor(expected[0]))
    else:
        raise SystemExit("hubft can be imported")
"""


def test_what_is_loaded_needs_no_hubft_any_more(served: github.GitHub, bare: Path, tmp_path: Path) -> None:
    """The module goes by pickle and to spawned workers, `hubft` and `preprocess` with it; the checkout is gone."""
    job = Job("torchvision:mobilenet_v3_small", "d", head=Head(outputs=3))
    trained = packages.write(tmp_path / "p", job, pretrained=False)
    (tmp_path / "worker.py").write_text(WORKER)
    code = (
        NOT_INSTALLED
        + """
import pickle, shutil, worker
if __name__ == "__main__":
    model = torch.hub.load("org/hubft:v1.0", "finetuned", "p", trust_repo=True)
    assert not model.training and type(model).__module__ == "torchvision.models.mobilenetv3"
    shutil.rmtree(torch.hub.get_dir())
    with open("model.pickle", "wb") as file:
        pickle.dump(model, file)
    torch.multiprocessing.spawn(worker.compare, (model, worker.look(model)), nprocs=1)
"""
    )
    run(code, [bare, tmp_path], tmp_path, served.environment)
    code = (
        NOT_INSTALLED
        + """
import pickle, worker
with open("model.pickle", "rb") as file:
    print(json.dumps(worker.look(pickle.load(file))))
"""
    )
    logits, classes = json.loads(run(code, [bare, tmp_path], tmp_path, {}))
    assert classes == list(packages.CLASSES)
    from PIL import Image

    from hubft.share.load import load

    image = Image.radial_gradient("L").resize((300, 200))
    loaded = load(str(tmp_path / "p"))
    assert digest.of_tensors(loaded.state_dict()) == digest.of_tensors(trained.state_dict())
    torch.testing.assert_close(torch.tensor(logits), loaded(loaded.preprocess(image)[None])[0])  # type: ignore[operator]


def test_a_missing_dependency_is_named_by_torch_hub(served: github.GitHub, tmp_path: Path) -> None:
    thin = site(tmp_path / "thin", (*HIDDEN, "pluggy", "safetensors"))
    code = (
        NOT_INSTALLED
        + """
assert "resnet50_ft" in torch.hub.list("org/hubft", trust_repo=True)
try:
    torch.hub.load("org/hubft", "resnet50_ft")
except RuntimeError as error:
    print("\\n" + str(error))
"""
    )
    output = run(code, [thin], tmp_path, served.environment)
    assert output.splitlines()[-1] == "Missing dependencies: safetensors, pluggy"


def test_an_imported_hubft_of_the_series_is_used(served: github.GitHub, bare: Path, tmp_path: Path) -> None:
    for folder in ("hubft", "plugins"):
        shutil.copytree(ROOT / folder, tmp_path / "other" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    init = tmp_path / "other" / "hubft" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{hubft.__version__}"', f'"{SERIES}.99"'))
    code = """
import sys, torch, hubft
torch.hub.load("org/hubft:v1.0", "resnet50_ft", trust_repo=True, pretrained=False)
print("\\n" + sys.modules["hubft.share.load"].__file__)
"""
    output = run(code, [tmp_path / "other", bare], tmp_path, served.environment)
    assert output.splitlines()[-1] == str(tmp_path / "other" / "hubft" / "share" / "load.py")


def test_an_older_version_does_not_serve_a_newer_checkout(
    served: github.GitHub, bare: Path, toy_site: Path, tmp_path: Path
) -> None:
    code = (
        NOT_INSTALLED
        + """
torch.hub.load("org/hubft:main", "resnet50_ft", trust_repo=True, pretrained=False)
try:
    torch.hub.load("org/hubft:v2", "resnet50_ft", pretrained=False)
except ImportError as error:
    print("\\n" + str(error))
"""
    )
    error = run(code, [bare], tmp_path, served.environment).splitlines()[-1]
    assert re.fullmatch(rf"hubft {hubft.__version__} of .*_main/hubft/.*hubft {SERIES}.99 of .*_v2: .*process.*", error)
    # The other way round the newer one serves; the entry is still of the older checkout's catalogue, with its package.
    code = (
        NOT_INSTALLED
        + """
torch.hub.load("org/hubft:v2", "resnet50_ft", trust_repo=True, pretrained=False)
print("\\n" + json.dumps(torch.hub.load("org/hubft:main", "toy_ft").hubft["classes"]))
"""
    )
    output = run(code, [bare, toy_site], tmp_path, served.environment)
    assert json.loads(output.splitlines()[-1]) == list(packages.CLASSES)


@pytest.mark.parametrize(
    ("there", "here", "serves"),
    [
        ("0.2.3", "0.2.3", True),
        ("0.2.10", "0.2.9", True),
        ("0.2.9", "0.2.10", False),
        ("0.3.0", "0.2.9", False),
        ("1.4.0", "1.3.5", True),
        ("1.3.5", "1.4.0", False),
        ("2.0.0", "1.9.0", False),
        ("unknown", "0.2.3", False),
    ],
)
def test_which_version_serves_which(there: str, here: str, serves: bool) -> None:
    hubconf = runpy.run_path(str(ROOT / "hubconf.py"))
    assert hubconf["_serves"](there, here) is serves


@pytest.mark.parametrize("version", ["0.0.9", "77.1.0"])
def test_an_imported_hubft_of_another_series_is_an_error(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("hubconf.py", ROOT / "hubconf.py")
    assert spec and spec.loader
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    other = ModuleType("hubft")
    other.__file__, other.__version__ = "/elsewhere/hubft/__init__.py", version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hubft", other)
    words = rf"hubft {re.escape(version)} of /elsewhere/.* this is hubft .* of {re.escape(str(ROOT))}: .*fresh process"
    for call in (lambda: hubconf.finetuned("x"), hubconf.resnet50_ft):
        with pytest.raises(ImportError, match=words):
            call()


def test_an_entry_gives_the_package_that_was_recorded(
    served: github.GitHub, bare: Path, toy_site: Path, tmp_path: Path
) -> None:
    packages.write(tmp_path / "p", packages.toy_job())
    with hub.serving(hub.Hub()) as running:
        sha = running.commit("me/toys", tmp_path / "p")
        record = {"description": "Published.", "reference": "toy:small", "hub": f"me/toys@{sha}"}
        record["manifest"] = digest.of_file(tmp_path / "p" / package.MANIFEST)
        entries = {"right": record, "wrong": record | {"manifest": "0" * 64}, "loose": record | {"hub": "me/toys@main"}}
        files = served.commits["a" * 40] | {"hubft/share/catalogue.json": json.dumps(entries).encode()}
        sha = hashlib.sha1(b"published").hexdigest()
        served.commits[sha], served.branches["published"] = files, sha
        environment = {**served.environment, "HF_ENDPOINT": running.url, "HF_HOME": str(tmp_path / "hf")}
        code = (
            NOT_INSTALLED
            + """
found = {}
for name in ("right", "wrong", "loose"):
    try:
        found[name] = torch.hub.load("org/hubft:published", name, trust_repo=True).hubft["classes"]
    except Exception as error:
        found[name] = str(error)
print("\\n" + json.dumps(found))
"""
        )
        output = run(code, [bare, toy_site], tmp_path, environment | {"HF_HUB_OFFLINE": "0"})
    found = json.loads(output.splitlines()[-1])
    assert found["right"] == list(packages.CLASSES)
    assert "is not the one that was recorded" in found["wrong"]
    assert "not pinned" in found["loose"]


# ---- entries, without torch.hub --------------------------------------------------------------------


def test_arguments_of_an_entry(tmp_path: Path) -> None:
    job = Job("torchvision:resnet50", "d", head=Head(outputs=3))
    trained = packages.write(tmp_path / "p", job, pretrained=False)
    given = entry("resnet50_ft", weights=str(tmp_path / "p"))
    assert digest.of_tensors(given.state_dict()) == digest.of_tensors(trained.state_dict())
    packages.write(tmp_path / "toy", packages.toy_job())
    for arguments, words in (
        ({"weights": str(tmp_path / "toy")}, "fine-tune of toy:small, not of torchvision:resnet50"),
        ({"weights": str(tmp_path / "p"), "num_classes": 3}, "nothing beside it"),
        ({"weights": str(tmp_path / "p"), "pretrained": False}, "nothing beside it"),
        ({"pretrained": False, "num_classes": 0}, "at least 1"),
    ):
        with pytest.raises(HubftError, match=words):
            entry("resnet50_ft", **arguments)  # type: ignore[arg-type]
    with pytest.raises(HubftError, match=r"no entry 'resnet5_ft'.*Did you mean 'resnet50_ft'"):
        entry("resnet5_ft")


def test_without_pretraining_an_entry_is_initialised() -> None:
    model = entry("resnet50_ft", pretrained=False, num_classes=5)
    assert not model.training and model.fc.out_features == 5
    assert model.hubft["base"]["reference"].startswith("torchvision:resnet50")
    assert 0.01 < model.conv1.weight.std() < 0.1 and not any(p.is_meta for p in model.parameters())
    assert model.preprocess is not None and entry("resnet50_ft", pretrained=False).fc.out_features == 1000


def test_what_the_catalogue_records_is_there() -> None:
    names = json.loads((catalogue.OWN).read_text())
    assert {"efficientnet_lite0_ft", "resnet50_ft"} <= set(names)
    for name in names:
        found = catalogue.find(name)
        assert not found.hub or (catalogue.PINNED.fullmatch(found.hub) and found.manifest)
        own = catalogue.own(name)
        if own:
            assert package.read(own).manifest.job.reference.partition("@")[0] == found.reference
