"""What it takes to read large tables: seconds and peak memory, each in a process of its own.

    python benchmarks/tables.py [--folder FOLDER]

paths: CSV, JSON Lines and Parquet of 100,000 rows and of 1,000,000, of which the first hundred files are there; a class
of a hundred, a part of the split and a group of ten rows each.
images: Parquet with 20,000 images of 100 kB inside, then a thousand of them opened in a random order.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CHILD = """
import json, random, sys, time
def peak():  # not ru_maxrss, which begins with that of the process that started this one
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
begun = time.perf_counter()
from hubft.data import table
from hubft.job import Labels
rows = table.read(sys.argv[1], Labels(**json.loads(sys.argv[2])))
read = time.perf_counter() - begun
found = [row.place for part in rows.parts.values() for row in part]
told = {"rows": len(found), "seconds": read, "of the processor": time.process_time()}
told["read MiB"] = peak()
if opens := int(sys.argv[3]):
    begun = time.perf_counter()
    for place in random.Random(0).sample(found, opens):
        rows.source.open(place)
    told["ms an image"] = 1000 * (time.perf_counter() - begun) / opens
    told["opened MiB"] = peak()
assert "torch" not in sys.modules
print(json.dumps(told))
"""
HEADER = ("file", "label", "split", "patient")


def rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    for i in range(count):
        part = ("val", "test", *["train"] * 8)[i // 10 % 10]
        yield f"photos/of/a/folder/{i:08d}.png", f"class {i % 100}", part, f"patient {i // 10}"


def write(folder: Path, count: int, suffix: str) -> Path:
    path = folder / f"{count}.{suffix}"
    if suffix == "parquet":
        columns = zip(HEADER, zip(*rows(count), strict=True), strict=True)
        pq.write_table(pa.table({name: list(cells) for name, cells in columns}), path)
        return path
    with path.open("w", encoding="utf-8") as file:
        if suffix == "csv":
            file.write(",".join(HEADER) + "\n")
        for row in rows(count):
            file.write((",".join(row) if suffix == "csv" else json.dumps(dict(zip(HEADER, row, strict=True)))) + "\n")
    return path


def write_images(folder: Path, count: int, size: int, group: int) -> Path:
    path, draws = folder / f"images-{group}.parquet", random.Random(0)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    with pq.ParquetWriter(path, pa.schema({"image": kind, "label": pa.string()}), compression="none") as writer:
        for start in range(0, count, group):
            images = [{"bytes": draws.randbytes(size), "path": f"{i}.jpg"} for i in range(start, start + group)]
            columns = {"image": pa.array(images, kind), "label": [f"class {i % 100}" for i in range(group)]}
            writer.write_table(pa.table(columns), row_group_size=group)
    return path


def measured(path: Path, opens: int = 0, **labels: Any) -> None:
    command = [sys.executable, "-c", CHILD, str(path), json.dumps(labels), str(opens)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"{path.name:>20}", *(f"{name} {value:,.2f}".removesuffix(".00") for name, value in told.items()), sep="   ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the tables are written; a temporary folder if none is given")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as temporary:
        folder = Path(temporary)
        (folder / "photos/of/a/folder").mkdir(parents=True)
        for i in range(100):
            Image.new("RGB", (8, 8)).save(folder / f"photos/of/a/folder/{i:08d}.png")
        for count in (100_000, 1_000_000):
            for suffix in ("csv", "jsonl", "parquet"):
                measured(write(folder, count, suffix), group="patient", target=["label"])
        for group in (100, 1000):
            measured(write_images(folder, 20_000, 100_000, group), opens=1000)


if __name__ == "__main__":
    main()
