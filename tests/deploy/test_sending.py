"""`hubft push --with`: exports beside the package on a Hub, in the places of the Hub's tools, of this package alone."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import packages
import pictures
import pytest
from extras import needs
from loopback.hub import Hub, serving
from safetensors.numpy import load
from terminal import TOKEN, Terminal

from hubft.deploy.export import formats
from hubft.deploy.export.export import SELFTEST
from hubft.job import Recipe
from hubft.publish import exports

for module, extra in (("onnx", "onnx"), ("onnxscript", "onnx"), ("onnxruntime", "onnx"), ("openvino", "openvino")):
    needs(module, extra)

ONNX = {"onnx/hubft_exports.json", "onnx/model.onnx", f"onnx/model.onnx{SELFTEST}"}
OPENVINO = {
    "openvino/hubft_exports.json",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    f"openvino/openvino_model.xml{SELFTEST}",
}
DATA = "PUT /_objects/"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package, and with another of the same model."""
    folder = tmp_path_factory.mktemp("made")
    packages.write(folder / "run", packages.toy_job())
    packages.write(folder / "other", packages.toy_job(recipe=Recipe(epochs=7)))
    return folder


@pytest.fixture
def user(made: Path, tmp_path: Path, server: str) -> Iterator[Terminal]:
    with serving(Hub(token=TOKEN)) as hub:
        one = Terminal(hub, tmp_path, server)
        for name in ("run", "other"):
            shutil.copytree(made / name, one.work / name)
        yield one


def below(hub: Hub) -> set[str]:
    """Return the files of the repository that are in folders."""
    return {path for path in hub.files("me/toys") if "/" in path}


DOWNLOADED = """
import json, os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it leaves a file among the temporary ones
import numpy, onnxruntime
from huggingface_hub import hf_hub_download
file, beside = (hf_hub_download("me/toys", name) for name in ("onnx/model.onnx", sys.argv[1]))
session = onnxruntime.InferenceSession(file)
data = open(beside, "rb").read()
length = int.from_bytes(data[:8], "little")
header = json.loads(data[8 : 8 + length])
def tensor(name):
    first, last = header[name]["data_offsets"]
    return numpy.frombuffer(data[8 + length + first : 8 + length + last], numpy.float32).reshape(header[name]["shape"])
found = session.run(["outputs"], {"images": tensor("inputs")})[0]
print(found.shape, abs(found - tensor("outputs")).max() < 1e-4)
"""


def test_what_is_sent_along_is_downloaded_and_run_and_not_sent_twice(user: Terminal, made: Path) -> None:
    hub, before = user.hub, user.on_disk()
    first = user.run("push", "run", "me/toys", "--with", "onnx,openvino")
    assert first.code == 0, first.err
    assert "proved   onnx/model.onnx: self-test differs by " in first.out
    assert below(hub) == ONNX | OPENVINO and len(hub.history("me/toys")) == 2
    ran = user.fresh("-c", DOWNLOADED, f"onnx/model.onnx{SELFTEST}")
    assert ran.out == "(3, 3) True\n", ran.err
    card = hub.files("me/toys")["README.md"].decode()
    assert "| `onnx/model.onnx` | ONNX Runtime | fp32 |" in card and "- openvino\n" in card
    assert 'hf download me/toys --include "onnx/model.*" --local-dir .' in card
    assert "hubft predict onnx/model.onnx image.jpg" in card
    hub.requests.clear()
    for words in (["--with", "openvino,onnx"], []):  # made again, to the same bytes; and not made
        again = user.run("push", "run", "me/toys", *words)
        assert again.revision == first.revision and "removed" not in again.out
    assert not [request for request in hub.requests if not request.startswith("GET ")]
    assert user.on_disk() == before
    sent = load(hub.files("me/toys")[f"onnx/model.onnx{SELFTEST}"])
    theirs = load((made / "run" / "selftest.safetensors").read_bytes())
    assert numpy.allclose(sent["outputs"], theirs["logits"], atol=1e-4)
    roots = {str(Path(__file__).parents[2]), sys.prefix, str(user.folder.parent)}
    for path, data in hub.files("me/toys").items():  # nothing names a folder of this machine
        assert not [root for root in roots if root.encode() in data], path


def test_they_stay_as_long_as_the_package_is_the_same_and_pull_leaves_them(user: Terminal) -> None:
    hub = user.hub
    user.run("push", "run", "me/toys", "--with", "onnx")
    hub.requests.clear()
    pulled = user.run("pull", "me/toys", "--output", "copy")
    assert pulled.code == 0, pulled.err
    assert not [request for request in hub.requests if "/onnx" in request]
    assert not (user.work / "copy" / "onnx").exists() and (user.work / "copy" / "model.safetensors").is_file()
    back = user.run("push", "copy", "me/toys")  # the same package, as the Hub's card describes it
    assert "removed" not in back.out and below(hub) == ONNX
    hub.requests.clear()
    ran = user.run("push", "run", "me/toys", "--with", "openvino")
    assert ran.revision and "removed" not in ran.out and below(hub) == ONNX | OPENVINO
    card = hub.files("me/toys")["README.md"]
    assert b"`onnx/model.onnx`" in card and b"`openvino/openvino_model.xml`" in card
    assert not [request for request in hub.requests if request.startswith(DATA)]  # the same weights, the same vectors
    (user.work / "run" / "README.md").write_text("# mine\n")
    ran = user.run("push", "run", "me/toys")
    assert "removed" not in ran.out and hub.files("me/toys")["README.md"] == b"# mine\n"
    assert below(hub) == ONNX | OPENVINO


def test_exports_of_another_package_do_not_stay_beside_it(user: Terminal) -> None:
    hub = user.hub
    user.run("push", "run", "me/toys", "--with", "onnx,openvino")
    hub.files("me/toys")["onnx/notes.md"] = b"theirs"
    old = hub.files("me/toys")["onnx/model.onnx"]
    second = user.run("push", "other", "me/toys", "--with", "onnx")
    assert second.revision and below(hub) == ONNX | {"onnx/notes.md"}
    assert "removed  openvino/hubft_exports.json, " in second.out and "onnx/" not in second.out.split("removed")[1]
    assert hub.files("me/toys")["onnx/model.onnx"] != old
    third = user.run("push", "run", "me/toys")
    assert third.revision and below(hub) == {"onnx/notes.md"}
    assert "onnx/model.onnx" in third.out and "--with sends those of this one" in third.out
    assert b"onnx/model.onnx" not in hub.files("me/toys")["README.md"]


def test_int8_has_its_place_and_is_judged_by_images(user: Terminal) -> None:
    pictures.folder(user.work / "data", packages.CLASSES, 8, 6)
    refused = user.run("push", "run", "me/toys", "--with", "onnx,onnx:int8")
    assert "--with onnx:int8 needs data to calibrate on and to judge by: give --data DATA" in refused.error
    assert not user.hub.requests
    ran = user.run("push", "run", "me/toys", "--with", "onnx:int8", "--data", "data", "--max-drop", "90")
    assert ran.code == 0, ran.err
    assert "onnx/model_quantized.onnx: " in ran.out and "18 validation images" in ran.out
    assert "onnx/model_quantized.onnx" in below(user.hub)
    assert b"| `onnx/model_quantized.onnx` | ONNX Runtime | int8 |" in user.hub.files("me/toys")["README.md"]


def test_what_cannot_be_sent_is_refused_before_any_request(user: Terminal) -> None:
    cases = {
        "--with 'onx': known are ": ["--with", "onx"],
        "--with 'int8+onnx': the package itself is sent as onnx, onnx:int8, openvino, ": ["--with", "int8+onnx"],
        "--with 'int8': the package itself is sent as ": ["--with", "int8"],
        "--with 'pt2': the package itself is sent as ": ["--with", "pt2"],
        "--with 'onnx' stands twice": ["--with", "onnx,onnx"],
        "--precision 'bf16': onnx is written in fp32, int8": ["--with", "onnx:bf16"],
        "--data is for the exports that are sent along: name them by --with": ["--data", "data"],
        "--max-drop is for the exports": ["--max-drop", "2"],
        "--trust is for the exports": ["--trust"],
    }
    for words, options in cases.items():
        assert words in user.run("push", "run", "me/toys", *options).error
    assert not user.hub.requests


def test_an_export_that_is_not_as_good_sends_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hubft.base.errors import ExportError
    from hubft.deploy import sending
    from hubft.deploy.export import proof
    from hubft.share import transfer, upload

    def sent(*_: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr(upload, "upload", sent)
    monkeypatch.setattr(proof, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match=r"model.onnx was not written. fp32: its outputs on the self-test differ"):
        transfer.push(made / "run", "me/toys", along=sending.Exports(("onnx",)))


def test_files_of_others_in_those_places_are_left_alone(user: Terminal) -> None:
    user.run("push", "run", "me/toys")
    user.hub.files("me/toys")["onnx/model.onnx"] = b"theirs"
    error = user.run("push", "run", "me/toys", "--with", "openvino,onnx").err
    assert "me/toys holds onnx/model.onnx, which hubft did not put there: delete it there, or push elsewhere" in error
    assert user.run("push", "other", "me/toys").code == 0
    assert user.hub.files("me/toys")["onnx/model.onnx"] == b"theirs"


def test_every_place_is_named_after_its_format(made: Path) -> None:
    for (name, precision), place in exports.PLACES.items():
        assert precision in formats.named(name).precisions and place.endswith(formats.named(name).suffix)
        assert exports.formats([place]) == [name]
