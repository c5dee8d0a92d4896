"""From picture to input: the same as Pillow by hand, and portable."""

import io
import pickle
import random
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from hubft import Preprocess
from hubft.base import draws, keys
from hubft.images import transforms
from hubft.pictures import INTERPOLATIONS

SIZES = [(31, 50), (50, 31), (33, 33), (7, 90), (200, 61)]  # width, height


def picture(width: int, height: int) -> Image.Image:
    pixels = numpy.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels)


def by_hand(image: Image.Image, p: Preprocess) -> numpy.ndarray:
    """Return the input as the words of `Preprocess` say it, with Pillow and NumPy alone."""
    (width, height), flip = image.size, -1 if p.channels == "bgr" else 1
    high, wide = p.resize if isinstance(p.resize, tuple) else (p.resize, p.resize)
    if p.crop == "border":  # the longer side fits
        scale = min(wide / width, high / height)
        wide, high = round(width * scale), round(height * scale)
    elif p.crop == "center" and isinstance(p.resize, int):
        wide, high = (wide, wide * height // width) if width < height else (high * width // height, high)
    image = image.resize((wide, high), Image.Resampling[p.interpolation.upper()])
    left, top = (
        -((want - have) // 2) if have < want else round((have - want) / 2)
        for have, want in ((wide, p.size[1]), (high, p.size[0]))
    )
    black, mean = (0, 0, 0), tuple(round(255 * value) for value in p.mean[::flip])
    padded = Image.new("RGB", p.size[::-1], mean if p.crop == "border" else black)
    padded.paste(image, (-left, -top))
    pixels = numpy.asarray(padded, dtype=numpy.float64)[..., ::flip]
    return ((pixels / 255 - numpy.array(p.mean)) / numpy.array(p.std)).transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "preprocess",
    [
        *(Preprocess((24, 24), 28, interpolation=name) for name in INTERPOLATIONS),
        Preprocess((24, 24), 27, channels="bgr", mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)),
        Preprocess((24, 24), 28, "squash", "bicubic"),
        Preprocess((21, 24), (25, 31), "squash"),
        Preprocess((21, 24), (25, 31), "center"),
        Preprocess((24, 24), 24, "border", "bicubic"),
        Preprocess((20, 24), 33, "border"),
        Preprocess((40, 44), (30, 20), "border", "lanczos", (0.1, 0.2, 0.3), channels="bgr"),
        Preprocess((40, 40), 24),
    ],
    ids=str,
)
def test_evaluation_is_the_pipeline_that_the_words_say(preprocess: Preprocess, size: tuple[int, int]) -> None:
    made = transforms.evaluation(preprocess)(picture(*size))
    assert made.dtype == torch.float32 and made.shape == (3, *preprocess.size)
    numpy.testing.assert_allclose(made.numpy(), by_hand(picture(*size), preprocess), atol=2e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_evaluation_takes_a_picture_of_any_mode(mode: str) -> None:
    image = picture(31, 50).convert(mode)
    transform = transforms.evaluation(Preprocess((24, 24), 28))
    assert torch.equal(transform(image), transform(image.convert("RGB")))


@pytest.mark.parametrize("p", [Preprocess((24, 24), 28), Preprocess((8, 8), 9, "border", "bicubic", channels="bgr")])
def test_a_pickled_transform_needs_no_hubft(p: Preprocess) -> None:
    needed = set()

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            needed.add(module.partition(".")[0])
            return super().find_class(module, name)

    transform = transforms.evaluation(p)
    again = Watching(io.BytesIO(pickle.dumps(transform))).load()
    assert needed <= {"torchvision", "torch", "PIL", "builtins", "collections", "functools", "operator", "_operator"}
    assert torch.equal(again(picture(31, 50)), transform(picture(31, 50)))


@pytest.mark.parametrize("size", [(24, 24), (20, 28)])
@pytest.mark.parametrize("augment", ["light", "standard", "strong"])
def test_training_draws_from_the_seeded_generator_alone(augment: str, size: tuple[int, int]) -> None:
    transform = transforms.training(Preprocess(size, 28), augment)
    draws.seed("sample", 0)
    first, second = (transform(picture(41, 50)) for _ in range(2))
    random.seed(99)
    numpy.random.seed(99)
    torch.default_generator.manual_seed(keys.key("sample", 0))
    again = transform(picture(41, 50))
    assert first.dtype == torch.float32 and first.shape == (3, *size)
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_none_is_the_evaluation_transform() -> None:
    p = Preprocess((24, 24), 28, "squash", "bicubic", channels="bgr")
    plain, wanted = transforms.training(p, "none"), transforms.evaluation(p)
    assert repr(plain) == repr(wanted) and torch.equal(plain(picture(31, 50)), wanted(picture(31, 50)))


def crops(augment: str, count: int = 150) -> tuple[list[float], list[bool]]:
    """Return the share of the area that each training view keeps, and whether it is mirrored."""
    ramp = numpy.linspace(0, 255, 256).astype(numpy.uint8)
    across, down = numpy.meshgrid(ramp, ramp)
    image = Image.fromarray(numpy.stack([across, down, down], 2))
    transform = transforms.training(Preprocess((32, 32), 32, mean=(0, 0, 0), std=(1, 1, 1)), augment)
    draws.seed("crops")
    views = [transform(image) for _ in range(count)]
    spans = [(float(v[0].max() - v[0].min()), float(v[1].max() - v[1].min())) for v in views]
    return [a * b for a, b in spans], [bool(v[0, 0, 0] > v[0, 0, -1]) for v in views]


def test_light_keeps_three_quarters_of_the_area_and_mirrors_half() -> None:
    areas, mirrored = crops("light")
    assert 0.65 < min(areas) < 0.85 and max(areas) > 0.9
    assert 0.35 < sum(mirrored) / len(mirrored) < 0.65


def test_standard_crops_wider_and_changes_colours() -> None:
    grey = Image.new("RGB", (40, 40), (120, 60, 30))
    draws.seed("colours")
    levels = {name: transforms.training(Preprocess((8, 8), 8), name)(grey)[:, 0, 0] for name in ("light", "standard")}
    unchanged = transforms.evaluation(Preprocess((8, 8), 8))(grey)[:, 0, 0]
    assert torch.equal(levels["light"], unchanged) and not torch.equal(levels["standard"], unchanged)
    assert min(crops("standard")[0]) < 0.2


def test_strong_is_standard_with_a_trivial_augmentation() -> None:
    """Of the image that `standard` gives for the same seed, one operation of many strengths is made."""
    p = Preprocess((16, 16), 16)
    standard, strong = (transforms.training(p, name) for name in ("standard", "strong"))
    assert [type(t) for t in strong.transforms if type(t) is not v2.TrivialAugmentWide] == [
        type(t) for t in standard.transforms
    ]
    changed = 0
    for i in range(40):
        views = []
        for transform in (standard, strong):
            draws.seed("strong", i)
            views.append(transform(picture(31, 50)))
        changed += not torch.equal(*views)
    assert 20 < changed < 40  # it has an identity among its operations, and strengths of nothing


@pytest.mark.parametrize("p", [Preprocess((24, 24), 28, "center", "bicubic", (0, 0, 0), (1, 1, 1), "bgr")])
def test_training_has_the_models_own_interpolation_and_channels(p: Preprocess) -> None:
    blue = transforms.training(p, "light")(Image.new("RGB", (30, 30), "blue"))
    assert blue[:, 0, 0].tolist() == [1, 0, 0]
    assert "InterpolationMode.BICUBIC" in repr(transforms.training(p, "light"))


@pytest.mark.parametrize(
    ("size", "resize", "asked", "wanted"),
    [
        ((224, 224), 256, 112, 128),
        ((224, 224), 224, 64, 64),
        ((224, 224), (232, 232), 112, (116, 116)),
        ((192, 256), 219, 96, 110),
        ((224, 224), 256, 224, 256),
    ],
)
def test_another_size_keeps_the_share_that_is_cut_away(size: Any, resize: Any, asked: int, wanted: Any) -> None:
    p = Preprocess(size, resize, "squash", "bicubic", channels="bgr")
    assert p.at_size(asked) == Preprocess((asked, asked), wanted, "squash", "bicubic", channels="bgr")
