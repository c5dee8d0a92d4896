"""Pictures in shards of WebDataset beside the same pictures in class folders: how fast they are opened and decoded.

    python benchmarks/shards.py [--images 20000] [--rounds 5] [--folder FOLDER]

It writes JPEG pictures of noise and shapes, 256 pixels, into class folders and into shards of a thousand. It then reads
the rows of both, of shards for the first time and from what is kept of them, and opens pictures in a random order, the
same for both, in turns: bytes alone, and decoded. Seconds are those of the processor. Each number is the median of the
rounds; a ratio is that of the speed from shards to that from folders, of one round. Files come from the system's cache:
what is measured is not the disk.
Where the library webdataset is installed, its own passage through the shards is measured too, in their order.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
from PIL import Image, ImageDraw

from hubft.data import reading
from hubft.data.rows import Rows
from hubft.images.decode import decode
from hubft.job import Labels

SIDE, CLASSES, SHARD = 256, 10, 1000
OPENED, DECODED = 4000, 600  # pictures a round


def picture(number: int) -> bytes:
    draws = numpy.random.default_rng(number)
    image = Image.fromarray(draws.integers(90, 160, (SIDE, SIDE, 3), dtype=numpy.uint8))
    for _ in range(6):
        box = sorted(draws.integers(0, SIDE, 2).tolist()), sorted(draws.integers(0, SIDE, 2).tolist())
        corners = (box[0][0], box[1][0], box[0][1], box[1][1])
        ImageDraw.Draw(image).ellipse(corners, fill=tuple(draws.integers(0, 255, 3).tolist()))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def write(folder: Path, images: int) -> tuple[Path, Path]:
    """Write the same pictures, in the same order, into class folders and into shards."""
    folders, shards = folder / "folders", folder / "shards"
    shards.mkdir()
    per = images // CLASSES
    kept = [picture(number) for number in range(min(images, 500))]  # different enough: none of it is compared
    for label in range(CLASSES):
        (folders / str(label)).mkdir(parents=True)
    for first in range(0, per * CLASSES, SHARD):
        with tarfile.TarFile(shards / f"data-{first // SHARD:06d}.tar", "w") as archive:
            for number in range(first, min(first + SHARD, per * CLASSES)):
                content, label = kept[number % len(kept)], str(number // per)
                (folders / label / f"{number:06d}.jpg").write_bytes(content)
                for end, its in (("jpg", content), ("cls", label.encode())):
                    member = tarfile.TarInfo(f"{number:06d}.{end}")
                    member.size = len(its)
                    archive.addfile(member, io.BytesIO(its))
    return folders, shards


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of the processor, which other work on the machine does not change by much."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def rows(data: Path) -> Rows:
    return reading.to_train(str(data), Labels())


def opened(found: Rows, places: list[str]) -> None:
    for place in places:
        its = found.source.open(place)
        its.getvalue() if isinstance(its, io.BytesIO) else its.read_bytes()


def decoded(found: Rows, places: list[str]) -> None:
    for place in places:
        decode(found.source.open(place))


def passed(shards: Path) -> Iterator[int]:
    """Yield the sizes of pictures as the library webdataset passes them, in the order of the shards."""
    import webdataset

    names = [str(path) for path in sorted(shards.iterdir())]
    for sample in webdataset.WebDataset(names, shardshuffle=False):
        yield len(sample["jpg"])


def told(name: str, folders: list[float], shards: list[float], count: int) -> None:
    ratios = [one / other for one, other in zip(folders, shards, strict=True)]
    speeds = [count / statistics.median(its) for its in (folders, shards)]
    print(
        f"{name:>8}   folders {speeds[0]:,.0f} a second   shards {speeds[1]:,.0f} a second   "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where all is written; a temporary folder if none is given")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        os.environ["HUBFT_CACHE"] = str(Path(temporary) / "cache")
        folders, shards = write(Path(temporary), asked.images)
        size = sum(path.stat().st_size for path in shards.iterdir())
        print(f"{asked.images:,} pictures, {len([*shards.iterdir()])} shards, {size / 1e6:,.0f} MB")
        first, kept, walked = [], [], []
        for _ in range(asked.rounds):
            shutil.rmtree(os.environ["HUBFT_CACHE"], ignore_errors=True)
            walked.append(timed(lambda: rows(folders)))
            first.append(timed(lambda: rows(shards)))
            kept.append(timed(lambda: rows(shards)))
        for name, its in (("folders", walked), ("shards, indexed", first), ("shards, from what is kept", kept)):
            print(f"rows of {name}: {statistics.median(its):.2f} s of the processor")
        its = {"folders": rows(folders), "shards": rows(shards)}
        for name, work, count in (("opened", opened, OPENED), ("decoded", decoded, DECODED)):
            found: dict[str, list[float]] = {"folders": [], "shards": []}
            for number in range(asked.rounds):
                numbers = random.Random(number).choices(range(asked.images // CLASSES * CLASSES), k=count)
                for kind in ("folders", "shards") if number % 2 else ("shards", "folders"):
                    places = [its[kind].parts["train"][i].place for i in numbers]
                    found[kind].append(timed(lambda kind=kind, places=places, work=work: work(its[kind], places)))
            told(name, found["folders"], found["shards"], count)
        try:
            seconds = [timed(lambda: sum(passed(shards))) for _ in range(asked.rounds)]
        except ModuleNotFoundError:
            return
        print(
            f"webdataset, opened in the order of the shards: {asked.images / statistics.median(seconds):,.0f} a second"
        )


if __name__ == "__main__":
    main()
