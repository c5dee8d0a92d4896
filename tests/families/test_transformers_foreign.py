"""Models of transformers whose code lies beside their weights: run on request, pinned by its bytes, never packaged."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import own_code
import packages
import pytest
import texts
import torch
from commands import Hubft
from extras import needs

from hubft import HubftError, Job, engine
from hubft.base import digest
from hubft.base.errors import BaseMismatch, FamilyError, PackageError
from hubft.families.plugins import ROOT
from hubft.job import Recipe
from hubft.publish import manifest as manifests
from hubft.share import load

transformers = needs("transformers", "transformers")
RECIPE = Recipe(epochs=1, batch_size=16, lr=3e-3)
ASKS = "brings code of its own, 'configuration_own.py', 'modeling_own.py', which runs when the model is built"
RUNS = r"^loading this package runs the code of transformers:/\S+ \('configuration_own.py', 'layers_own.py', "


@dataclass(frozen=True)
class Made:
    model: Path
    log: Path
    job: Job

    @property
    def run(self) -> Path:
        return Path(self.job.output)

    @property
    def package(self) -> Path:
        return self.run / "package"

    def ran(self) -> int:
        """Return how often the code was run."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A run on a model with code, after one without trust that left nothing."""
    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder / "modules"))
        patch.setattr("sys.path", [*__import__("sys").path])
        patch.setenv(own_code.RAN, str(folder / "ran.txt"))
        model = own_code.model(folder / "own")
        data = texts.table(folder / "reviews.csv")
        one = Made(model, folder / "ran.txt", Job(f"transformers:{model}", data, recipe=RECIPE, output=folder / "run"))
        with pytest.raises(FamilyError, match=ASKS) as caught:
            engine.finetune(one.job)
        assert caught.value.typed().endswith(": if you trust whoever wrote it, say so by --trust")
        assert one.ran() == 0 and not one.run.exists() and not (folder / "modules").exists()
        engine.finetune(one.job, trust=True)
        assert one.ran() == 1
        yield one


def test_the_package_says_what_code_builds_it_and_holds_none(made: Made) -> None:
    manifest = manifests.read(made.package / "hubft.json")
    assert manifest.base.code == {name: digest.of_file(made.model / name) for name in own_code.FILES}
    assert manifest.base.reference == manifest.job.reference == f"transformers:{made.model}"
    names = {path.name for path in made.package.iterdir()}
    assert not {name for name in names if name.endswith(".py")} and "config.json" not in names
    card = (made.package / "README.md").read_text()
    files = ", ".join(f"`{name}`" for name in own_code.FILES)
    told = f"Loading it runs the code of `transformers:{made.model}` ({files}), which is no part of this package"
    assert told in card
    assert "trust=True" in card and "--trust" in card


@pytest.mark.parametrize(
    "command",
    [["show"], ["predict", "the lovely film"], ["evaluate", "DATA"], ["export", "--format", "pt2", "--output", "OUT"]],
    ids=lambda command: command[0],
)
def test_each_command_asks_for_trust(made: Made, hubft: Hubft, tmp_path: Path, command: list[str]) -> None:
    name, *rest = [{"DATA": str(made.job.data), "OUT": str(tmp_path / "out.pt2")}.get(word, word) for word in command]
    ran = hubft(name, made.run, *rest)
    assert ran.code == 2 and ran.err.startswith("hubft: loading this package runs the code of transformers:")
    assert len(ran.err.splitlines()) == 1 and not list(tmp_path.iterdir())
    ran = hubft(name, made.run, *rest, "--trust")
    assert ran.code == 0, ran.err


def test_a_reference_is_shown_with_trust_alone(made: Made, hubft: Hubft) -> None:
    ran = hubft("show", made.job.reference)
    assert ran.code == 2 and ASKS in ran.err and "--trust" in ran.err
    assert "OwnForSequenceClassification, head classifier" in hubft("show", made.job.reference, "--trust").out


def test_torch_hub_loads_it_with_trust_alone(made: Made) -> None:
    with pytest.raises(PackageError, match=RUNS):
        torch.hub.load(str(ROOT), "finetuned", str(made.package), source="local")
    model: Any = torch.hub.load(str(ROOT), "finetuned", str(made.package), source="local", trust=True)
    ours, theirs = load.load(made.run, trust=True, prove=True).state_dict(), model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items()) and len(ours) == len(theirs)


@pytest.fixture
def changed(made: Made) -> Iterator[Path]:
    """The folder of the model, which is put back as it was."""
    kept = shutil.copytree(made.model, made.model.parent / "kept")
    yield made.model
    shutil.rmtree(made.model)
    kept.rename(made.model)


def test_other_code_than_that_of_the_training_is_not_run(made: Made, changed: Path) -> None:
    """Also a file that only another one imports; also where the run goes on."""
    before = made.ran()
    with (changed / "layers_own.py").open("a") as file:
        file.write("# harmless\n")
    said = r"^the code of transformers:\S+ is not that which the model was trained with: 'layers_own.py' has other"
    with pytest.raises(BaseMismatch, match=said):
        load.load(made.run, trust=True)
    half = shutil.copytree(made.run, made.run.parent / "half", ignore=shutil.ignore_patterns("package"))
    with pytest.raises(BaseMismatch, match=said):
        engine.resume(half)
    (changed / "layers_own.py").unlink()
    with pytest.raises(FamilyError, match=r"its code cannot be run: .*layers_own\.py"):
        load.load(made.run, trust=True)
    assert made.ran() == before


def test_a_run_goes_on_with_the_code_that_it_began_with(made: Made) -> None:
    half = shutil.copytree(made.run, made.run.parent / "resumed", ignore=shutil.ignore_patterns("package"))
    again = engine.resume(half).run.package
    assert digest.of_file(again / "model.safetensors") == digest.of_file(made.package / "model.safetensors")


def test_a_manifest_that_names_no_code_has_none_run(made: Made, tmp_path: Path) -> None:
    moved = shutil.copytree(made.package, tmp_path / "moved")
    packages.rewrite(moved, lambda data: data["base"]["config"].pop("foreign_code"))
    with pytest.raises(PackageError, match="loading this package runs the code of"):
        load.load(moved)
    with pytest.raises(BaseMismatch, match="is not that which the model was trained with"):
        load.load(moved, trust=True)
    packages.rewrite(moved, lambda data: data["base"]["config"].update(foreign_code={"modeling_own.py": "x"}))
    with pytest.raises(PackageError, match="'x' is no sha256"):
        load.load(moved, trust=True)


@pytest.mark.parametrize("form", ["full", "delta"])
def test_what_is_made_of_the_package_asks_for_trust_too(made: Made, tmp_path: Path, form: str) -> None:
    job = replace(made.job, reference=f"package:{made.run}", package=form, output=tmp_path / "more")
    with pytest.raises(PackageError, match=RUNS):
        engine.finetune(job)
    assert not (tmp_path / "more").exists()
    engine.finetune(job, trust=True)
    with pytest.raises(PackageError, match=RUNS):
        load.load(tmp_path / "more")
    load.load(tmp_path / "more", trust=True, prove=True)


def own_map(**classes: str) -> dict[str, Any]:
    known = {"AutoConfig": "configuration_own.OwnConfig"}
    return {"auto_map": known | classes}


CLASSIFIER = "AutoModelForSequenceClassification"


@pytest.mark.parametrize(
    ("facts", "code", "said"),
    [
        (own_map(AutoModel="modeling_own.OwnModel"), "", f"its code has no {CLASSIFIER} and no .*AutoModel': take an"),
        (own_map(**{CLASSIFIER: "me/other--modeling.Own"}), "", "its code lies in another repository, me/other, at no"),
        (
            own_map(**{CLASSIFIER: "../modeling.Own"}),
            "",
            "auto_map names '../modeling.Own', which is no class of",
        ),
        (own_map(**{CLASSIFIER: "modeling_own.Gone"}), "", "its code cannot be run: .*Gone"),
        ({}, "raise ValueError('two\\nlines')", "its code cannot be run: .*two"),
        ({}, "raise SystemExit", "its code cannot be run: SystemExit"),
        ({}, "import no_such_package", "its code cannot be run: .*no_such_package"),
        ({"quantization_config": {"quant_method": "own"}}, "", "its config asks for quantization_config"),
        ({"width": 10**9}, "", "width of 1,000,000,000 in its config"),
        ({"width": 24}, "", "cannot be loaded as a classifier of texts"),
    ],
)
def test_code_that_will_not_do_is_refused_in_a_line(
    made: Made, changed: Path, facts: dict[str, Any], code: str, said: str
) -> None:
    config, file = changed / "config.json", changed / "modeling_own.py"
    config.write_text(json.dumps(json.loads(config.read_text()) | facts))
    file.write_text(f"{file.read_text()}\n{code}\n")
    with pytest.raises(HubftError, match=said) as caught:
        engine.finetune(replace(made.job, output=made.run.parent / "none"), trust=True)
    assert "\n" not in str(caught.value) and not (made.run.parent / "none").exists()
