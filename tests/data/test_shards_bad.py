"""Shards with what does not belong there: refused, left out with a reason, or not read, and nothing is ever run."""

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
from shards import labelled, opened, png, read, refusal, write

from hubft.base.errors import DataError
from hubft.data import tar


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "cache"))


def hostile(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (hostile("bad.png", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (hostile("bad.png", tarfile.LNKTYPE, "0000.png"), "is a link"),
        (hostile("bad.png", tarfile.CHRTYPE), "is a device"),
        (hostile("bad.png", tarfile.FIFOTYPE), "is a device"),
        (hostile("../bad.png", tarfile.REGTYPE), "leads out of its shard"),
        (hostile("/bad.png", tarfile.REGTYPE), "leads out of its shard"),
        (hostile("a/../../bad.png", tarfile.REGTYPE), "leads out of its shard"),
        (hostile("ba\x1b[31md.png", tarfile.REGTYPE), "control character"),
    ],
)
def test_members_that_are_no_plain_files_are_left_out(tmp_path: Path, member: tarfile.TarInfo, said: str) -> None:
    path = write(tmp_path / "a.tar", labelled(range(3)))
    with tarfile.TarFile(path, "a") as archive:
        archive.addfile(member)
        member = tarfile.TarInfo(member.name.replace("png", "cls"))
        member.size = 1
        archive.addfile(member, io.BytesIO(b"1"))
    rows = read(path)
    assert len(rows.parts["train"]) == 3
    ((place, why),) = rows.left_out.items()
    assert place.startswith("a.tar#") and said in why


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([("0001.json", b"{")], "'0001.json' is no JSON"),
        ([("0001.json", b"[" * 100_000)], "'0001.json' is no JSON"),
        ([("0001.txt", b"\xff\xff")], "no text in UTF-8"),
        ([("0001.cls", b"1")], "is there twice"),
        ([("0001.jpg", b"1")], "second picture"),
        ([("0001.txt", b"x" * (tar.MAX_CELL + 1))], "more than the"),
    ],
)
def test_a_sample_with_a_bad_member_is_left_out(tmp_path: Path, more: list[tuple[str, bytes]], said: str) -> None:
    rows = read(write(tmp_path / "a.tar", [*labelled(range(3)).items(), *more]), target=("cls",))
    assert [row.place for row in rows.parts["train"]] == ["a.tar#0000", "a.tar#0002"]
    assert said in rows.left_out["a.tar#0001"]


def test_a_picture_that_is_too_large_is_not_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_IMAGE", len(png(1)))
    rows = read(write(tmp_path / "a.tar", [*labelled(range(3)).items(), ("9.png", png(1) + b"x"), ("9.cls", b"1")]))
    assert "that a picture may have" in rows.left_out["a.tar#9"]


def test_a_sample_without_a_picture_is_told_when_it_is_opened(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "a.tar", labelled(range(3)) | {"9.cls": b"1"}))
    with pytest.raises(DataError, match="no picture among its members"):
        rows.source.open("a.tar#9")


def test_pickles_and_what_is_unknown_are_not_read(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run"),)

    bomb = pickle.dumps(Bomb())
    path = write(tmp_path / "a.tar", labelled(range(2)) | {"0000.pyd": bomb, "0001.pth": bomb, "0001.mp4": b"x"})
    rows = read(path)
    assert [note for note in rows.notes if "'pth', 'pyd'" in note and "never read" in note]
    assert "not used, members that end in 'mp4'" in rows.notes
    assert "never read" in refusal(write(tmp_path / "b.tar", {"0.pyd": bomb}))
    assert "has no column 'pyd'" in refusal(path, target=("pyd",))
    assert not (tmp_path / "run").exists()


def test_hidden_members_and_those_about_the_shard_are_no_samples(tmp_path: Path) -> None:
    more = {"./0007.png": png(7), "./0007.cls": b"1", "._0001.png": b"x", "__meta__.json": b"{", "d/.DS_Store": b"x"}
    rows = read(write(tmp_path / "a.tar", labelled(range(2)) | more))
    assert [row.place for row in rows.parts["train"]] == ["a.tar#0000", "a.tar#0001", "a.tar#0007"]
    assert not rows.left_out


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_of_all_forms_are_read(tmp_path: Path, form: int) -> None:
    name = f"{'d' * 60}/{{:060d}}"
    path = write(tmp_path / "a.tar", labelled(range(2), name), form)
    rows = read(path)
    assert opened(rows, f"a.tar#{name.format(1)}") == png(1)


@pytest.mark.parametrize("cut", [100, 512, 700, 1000])
def test_a_shard_that_is_cut_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.tar", labelled(range(2)))
    path.write_bytes(path.read_bytes()[:cut])
    assert "fetch it again" in refusal(path)


def test_a_shard_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", labelled(range(20)))
    data = bytearray(path.read_bytes())
    data[10 * 512 : 11 * 512] = b"\x07" * 512
    path.write_bytes(data)
    assert "'a.tar' is cut or damaged" in refusal(path)


@pytest.mark.parametrize(
    ("size", "said"), [(-512, "fetch it again"), (2**62, "fetch it again")], ids=["backwards", "behind the end"]
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, size: int, said: str) -> None:
    member = tarfile.TarInfo("9.png")
    member.size = size
    content = write(tmp_path / "a.tar", labelled(range(2))).read_bytes().rstrip(b"\0")
    content += bytes(-len(content) % 512) + member.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
    (tmp_path / "a.tar").write_bytes(content)
    assert said in refusal(tmp_path / "a.tar")


def test_a_name_without_end_is_not_allocated(tmp_path: Path) -> None:
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, tar.MAX_HEAD + 1
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(long.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**32)
    assert "the name of a member" in refusal(tmp_path / "a.tar")


def test_a_compressed_or_empty_shard_and_none_at_all_are_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.png"))
    assert "compressed by gzip" in refusal(tmp_path / "a.tar")
    (tmp_path / "b.tar").write_bytes(b"")
    assert "'b.tar' is no tar file" in refusal(tmp_path / "b.tar")
    assert "'c.tar' does not exist" in refusal(tmp_path / "c.tar").replace(f"{tmp_path}/", "")
    assert "KEY.jpg" in refusal(write(tmp_path / "d.tar", {"0.mp4": b"x"}))
    assert "rename them" in refusal(write(tmp_path / "e#.tar", labelled(range(2))))
