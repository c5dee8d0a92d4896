"""Images of any number of channels: read as they are stored, trained on, packaged, and read again by the package."""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from commands import exit_code
from extras import needs
from numpy.typing import NDArray
from PIL import ExifTags, Image
from runs import heard, job
from safetensors.torch import load_file
from torch import nn

from hubft.base.errors import DataError, JobError
from hubft.images import banded, bands
from hubft.share import load

tifffile = needs("tifffile", "tiff")
imagecodecs = needs("imagecodecs", "tiff")
SIDE = 40


def values(seed: int, channels: int, bright: bool, dtype: Any = numpy.uint16) -> NDArray[Any]:
    """Noise of which the last channel alone tells the class."""
    drawn = numpy.random.default_rng(seed).uniform(900, 1100, (SIDE, SIDE + 4, channels))
    drawn[..., -1] += 2000 if bright else 0
    return drawn.astype(dtype)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four channels of 16 bits; only the fourth, infrared, tells which class it is."""
    folder = tmp_path_factory.mktemp("data") / "fields"
    for part, number in (("train", 12), ("val", 6)):
        for label in ("crop", "soil"):
            (folder / part / label).mkdir(parents=True)
            for i in range(number):
                drawn = values(1000 * (part == "val") + 100 * (label == "crop") + i, 4, label == "crop")
                tifffile.imwrite(folder / part / label / f"{i}.tif", drawn, photometric="rgb")
    return folder


# ---- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [numpy.uint8, numpy.uint16, numpy.int16, numpy.float32])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_tiff_is_read_value_by_value(tmp_path: Path, dtype: Any, compression: str | None, planar: str) -> None:
    wanted = (numpy.random.default_rng(0).integers(0, 120, (21, 34, 5))).astype(dtype)
    stored = wanted if planar == "contig" else numpy.moveaxis(wanted, -1, 0)
    how = {"photometric": "minisblack", "planarconfig": planar, "compression": compression, "byteorder": ">"}
    tifffile.imwrite(tmp_path / "a.tif", stored, **how)
    found = bands.read(tmp_path / "a.tif")
    assert found.dtype == dtype and found.dtype.isnative
    assert numpy.array_equal(found, wanted)


def test_pages_of_one_channel_each_are_one_picture(tmp_path: Path) -> None:
    pages = numpy.arange(3 * 20 * 30, dtype=numpy.uint16).reshape(3, 20, 30)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="minisblack", contiguous=False)
        file.write(pages[0, ::2, ::2], photometric="minisblack", subfiletype=1)  # a smaller copy, as maps have them
    assert numpy.array_equal(bands.read(tmp_path / "a.tif"), numpy.moveaxis(pages, 0, -1))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4), ("I;16", 1)])
def test_other_formats_keep_their_channels_and_depth(mode: str, channels: int) -> None:
    dtype = numpy.uint16 if mode == "I;16" else numpy.uint8
    shape = (9, 7) if channels == 1 else (9, 7, channels)
    wanted = numpy.random.default_rng(0).integers(0, 250, shape).astype(dtype)
    Image.fromarray(wanted).save(file := BytesIO(), "PNG")
    found = bands.read(file)
    assert found.dtype == dtype
    assert numpy.array_equal(found, wanted.reshape(9, 7, channels))


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_a_png_of_deep_colours_keeps_its_16_bits(mode: str) -> None:
    wanted = numpy.random.default_rng(0).integers(0, 4096, (9, 7, len(mode))).astype(numpy.uint16)
    found = bands.read(BytesIO(imagecodecs.png_encode(wanted)), len(mode))
    assert found.dtype == numpy.uint16 and numpy.array_equal(found, wanted)
    cut = imagecodecs.png_encode(wanted)[:-60]
    with pytest.raises(DataError, match="cannot be decoded"):
        bands.read(BytesIO(cut))


def test_a_deep_png_on_its_side_is_refused(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (7, 9)).save(lying := BytesIO(), "PNG", exif=turned)
    tag = re.search(rb"....eXIf.*(?=....IDAT)", lying.getvalue(), re.DOTALL)
    content = imagecodecs.png_encode(numpy.zeros((9, 7, 3), numpy.uint16))
    assert tag
    with pytest.raises(DataError, match="lies on its side"):
        bands.read(BytesIO(content.replace(content[33:], tag[0] + content[33:])))


@pytest.mark.parametrize("form", ["png", "tif"])
def test_a_run_on_8_bits_says_that_there_were_more(tmp_path: Path, form: str) -> None:
    """Grey of 16 bits is not meant: all of its bits are looked at."""
    for part, label, number in itertools.product(("train", "val"), ("crop", "soil"), range(4)):
        folder = tmp_path / "fields" / part / label
        folder.mkdir(parents=True, exist_ok=True)
        seed, crop = number + 10 * (part == "val"), label == "crop"
        drawn = values(seed + 100 * crop, 1 if number == 3 else 3, crop)
        if form == "png":
            (folder / f"{number}.png").write_bytes(imagecodecs.png_encode(drawn))
        else:
            tifffile.imwrite(folder / f"{number}.tif", drawn, photometric="rgb" if number < 3 else "minisblack")
    said = heard(job(tmp_path / "fields", tmp_path / "run", recipe={"epochs": 1}))[1].about("")
    [line] = [line for line in said if "16 bits a colour" in line]
    assert line.startswith("note: 12 images have 16 bits a colour, and are read with 8 of them")
    assert line.endswith("; --surgery channels=3 takes them as they are")


def written(path: Path, pixels: NDArray[Any]) -> None:
    """Write an image whose channels lie beside each other."""
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig" if pixels.ndim == 3 else None)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: written(path, numpy.full((8, 8, 4), numpy.nan, numpy.float32)), "not finite numbers"),
        (lambda path: written(path, numpy.zeros((8, 8), numpy.complex64)), "pixels of complex64: known are"),
        (lambda path: written(path, numpy.zeros((8, 8, 65), numpy.uint8)), "65 channels, and 64"),
        (lambda path: written(path, numpy.zeros((2, 3000), numpy.uint8)), "one side 1000 times the other"),
        (lambda path: path.write_bytes(b"II*\0" + 40 * b"\1"), "cannot be decoded"),
        (lambda path: written(path, numpy.zeros((8, 8, 2), numpy.uint8)), "it has 2 channels, and the model"),
    ],
)
def test_what_is_no_picture_says_why(tmp_path: Path, write: Callable[[Path], Any], why: str) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(DataError, match=why):
        bands.read(tmp_path / "a.tif", 4)


def test_what_is_allocated_is_bounded_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "VALUES", 1000)
    written(tmp_path / "large.tif", numpy.zeros((16, 16, 4), numpy.uint8))
    with pytest.raises(DataError, match="16 x 16 pixels of 4 channels are more than 1,000 values"):
        bands.read(tmp_path / "large.tif")
    small = numpy.zeros((8, 8, 4), numpy.uint8)
    tifffile.imwrite(tmp_path / "tile.tif", small, photometric="minisblack", planarconfig="contig", tile=(64, 64))
    with pytest.raises(DataError, match="a tile of more than 1,000 values"):
        bands.read(tmp_path / "tile.tif")


def test_a_picture_is_shown_between_its_percentiles() -> None:
    ramp = numpy.linspace(0, 60_000, 2500).astype(numpy.uint16).reshape(50, 50, 1)
    shown = numpy.asarray(bands.shown(ramp))
    assert shown.shape == (50, 50, 3) and shown.dtype == numpy.uint8
    assert shown.min() == 0 and shown.max() == 255 and (numpy.diff(shown[..., 0].ravel().astype(int)) >= 0).all()


# ---- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_reads_the_channel_that_tells_and_its_package_does_so_again(fields: Path, tmp_path: Path) -> None:
    asked = job(fields, tmp_path / "run", surgery="channels=4", recipe={"train": "all", "epochs": 6})
    result, said = heard(asked)
    manifest = json.loads((result.run.package / "hubft.json").read_text(encoding="utf-8"))
    inputs = manifest["inputs"]
    assert manifest["structure"] == [{"kind": "surgery", "changes": ["channels=4"]}]
    assert inputs["kind"] == "bands" and len(inputs["mean"]) == 4
    assert 990 < inputs["mean"][0] < 1010 and 1900 < inputs["mean"][3] < 2100 and 900 < inputs["std"][3] < 1100
    assert "4 channels of uint16, taken as they are stored" in "\n".join(said.lines)
    assert result.metrics.head.value == 1.0
    package = load.package(str(result.run.package))
    model, error = load.proved(package)
    assert error < 1e-5
    assert next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels == 4
    path = fields / "val" / "crop" / "0.tif"
    read = banded.MODALITY.reader(package.manifest.inputs)(path)
    assert torch.equal(read, model.preprocess(tifffile.imread(path)))
    with torch.no_grad():
        assert model(read[None]).argmax() == manifest["task"]["classes"].index("crop")


def test_views_are_what_the_package_reads_bit_for_bit(fields: Path, tmp_path: Path) -> None:
    from hubft.job import Compute
    from hubft.machine.runtime import Runtime
    from hubft.run import prepare

    made = prepare.prepare(job(fields, tmp_path / "run", surgery="channels=4"))
    kind, inputs = banded.MODALITY, made.loaded.inputs
    ready = kind.ready(inputs, Runtime(Compute(device="cpu")))
    for place in (0, 5):
        views = made.validation
        pixels, _ = views.collate([views[0, place]])
        read = kind.reader(inputs)(views.source.open(views.samples[place].place))
        assert torch.equal(ready(pixels)[0], read)
    made.training.keep(1)
    first = made.training[1, 3][0]
    assert torch.equal(first, made.training[1, 3][0]), "a view that was kept is another one"
    assert first.shape == (*inputs.size, 4) and first.dtype == torch.float32


def test_a_run_goes_on_from_a_package_of_channels(fields: Path, tmp_path: Path) -> None:
    first, _ = heard(job(fields, tmp_path / "first", surgery="channels=4", recipe={"epochs": 1}))
    base = json.loads((first.run.package / "hubft.json").read_text(encoding="utf-8"))
    further = {"reference": f"package:{first.run.package}"}
    second, _ = heard(replace(job(fields, tmp_path / "again", recipe={"epochs": 1}), **further))
    manifest = json.loads((second.run.package / "hubft.json").read_text(encoding="utf-8"))
    assert manifest["inputs"] == base["inputs"]
    assert manifest["structure"] == base["structure"]
    with pytest.raises(JobError, match="only a model of images in RGB is changed so"):
        heard(replace(job(fields, tmp_path / "third", surgery="channels=3"), **further))


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_weights_are_folded_or_repeated(fields: Path, tmp_path: Path, channels: int) -> None:
    from hubft.compress import surgery
    from hubft.families import plugins

    loaded = plugins.manager("timm").hook.load(name="resnet18", pretrained=False, config={}, task="")
    old = loaded.model.conv1.weight.detach().clone()
    surgery.made(loaded, f"channels={channels}")
    new = loaded.model.conv1.weight
    assert loaded.model.conv1.in_channels == channels
    grey = torch.randn(1, 1, 64, 64)
    before = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), old, stride=2, padding=3)
    after = nn.functional.conv2d(grey.expand(-1, channels, -1, -1), new, stride=2, padding=3)
    assert torch.allclose(before, after, atol=1e-4)


def test_wrong_channels_are_one_line(fields: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"24 of 24 images have another number .* than 5, .* channels=4 reads them all"):
        heard(job(fields, tmp_path / "run", surgery="channels=5"))
    with pytest.raises(JobError, match="taken as they are stored"):
        heard(job(fields, tmp_path / "run", surgery="channels=4", white=4095))
    many = tmp_path / "many"
    for label in ("crop", "soil"):
        (many / label).mkdir(parents=True)
        for i in range(4):
            written(many / label / f"{i}.tif", values(i, 5, label == "crop"))
    with pytest.raises(DataError, match="--surgery channels=N"):
        heard(job(many, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_command_line_asks_a_package_of_channels(
    fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, _ = heard(job(fields, tmp_path / "run", surgery="channels=4", recipe={"train": "all", "epochs": 6}))
    capsys.readouterr()
    assert exit_code("predict", str(result.run.package), str(fields / "val" / "soil")) == 0
    assert "soil" in capsys.readouterr().out
    assert exit_code("evaluate", str(result.run.package), str(fields), "--tta", "flips") == 0
    strange = tmp_path / "strange.tif"
    tifffile.imwrite(strange, values(0, 3, True))
    assert exit_code("predict", str(result.run.package), str(strange)) != 0
    found = capsys.readouterr()
    assert "it has 3 channels, and the model takes 4" in found.out + found.err


def test_data_is_looked_at_through_a_model_of_so_many_channels(fields: Path, tmp_path: Path) -> None:
    known = [fields, "--surgery", "channels=4", "--device", "cpu", "--output"]
    assert exit_code("data", "--reference", "toy:small", *known, tmp_path / "seen") == 0
    with Image.open(tmp_path / "seen" / "contact.png") as sheet:
        assert len(sheet.convert("RGB").getcolors(1 << 20) or ()) > 100  # pictures, not their titles alone
    assert exit_code("features", "toy:small", *known, tmp_path / "features.safetensors") == 0
    assert load_file(tmp_path / "features.safetensors")["features"].shape[0] == 36
