from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import pytest

from hooks.errors import RefusedForGood
from hooks.storage_element import CHUNK, StorageElement, Stored, is_served

SE = StorageElement()


def url(path: Path) -> str:
    return f"file://localhost:0{path}"


def test_a_file_is_written_whole_and_read_back(tmp_path: Path) -> None:
    pfn = url(tmp_path / "a" / "b.json")
    expected = Stored(5, f"{zlib.adler32(b'hello'):08x}")
    assert SE.put(pfn, b"hello") == expected
    assert SE.stat(pfn) == expected
    assert SE.read(pfn) == b"hello"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.json"]


@pytest.mark.parametrize("broken", ["fsync", "unlink"])
def test_a_disk_that_is_full_is_told_and_no_part_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def unlink(_path: Path) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "fsync", full)
    if broken == "unlink":
        monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(OSError, match="No space left"):
        SE.put(url(tmp_path / "x"), b"one")
    assert len(list(tmp_path.iterdir())) == (broken == "unlink")


def test_writing_again_replaces(tmp_path: Path) -> None:
    pfn = url(tmp_path / "x")
    SE.put(pfn, b"one")
    SE.put(pfn, b"two")
    assert SE.read(pfn) == b"two"


def test_a_checksum_has_eight_digits_even_if_it_begins_with_zeros(tmp_path: Path) -> None:
    assert SE.put(url(tmp_path / "x"), b"").adler32 == "00000001"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert SE.stat(url(tmp_path / "x")) is None
    assert SE.exists([url(tmp_path / "x"), url(tmp_path)]) == set()


def test_a_move_may_be_repeated_but_not_of_nothing(tmp_path: Path) -> None:
    old, new = url(tmp_path / "old"), url(tmp_path / "q" / "new")
    SE.put(old, b"1")
    SE.move(old, new)
    SE.move(old, new)
    assert SE.read(new) == b"1"
    with pytest.raises(FileNotFoundError):
        SE.move(old, url(tmp_path / "other"))


def test_a_tree_is_deleted_and_counted_once(tmp_path: Path) -> None:
    SE.put(url(tmp_path / "t" / "a"), b"1")
    SE.put(url(tmp_path / "t" / "b" / "c"), b"1")
    assert SE.delete_tree(url(tmp_path / "t")) == 2
    assert SE.delete_tree(url(tmp_path / "t")) == 0


def test_a_scheme_that_is_not_served_is_refused_by_name() -> None:
    with pytest.raises(RefusedForGood, match="'davs' is not served"):
        SE.stat("davs://se.example.org/x")


def test_files_are_deleted_with_what_broken_uploads_of_them_left(tmp_path: Path) -> None:
    for name in ("a", "b", ".a~node-7.part", ".b~node-7.part", ".a~x"):
        SE.put(url(tmp_path / name), b"1")
    assert SE.delete([url(tmp_path / "a"), url(tmp_path / "gone" / "c")]) == 2
    assert SE.delete([url(tmp_path / "a")]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a~x", ".b~node-7.part", "b"]


def test_folders_are_listed_with_their_newest_change(tmp_path: Path) -> None:
    SE.put(url(tmp_path / "one" / "deep" / "x"), b"1")
    SE.put(url(tmp_path / "file"), b"1")
    for path in (tmp_path / "one", tmp_path / "one" / "deep"):
        os.utime(path, (100, 100))
    os.utime(tmp_path / "one" / "deep" / "x", (200, 200))
    assert SE.folders(url(tmp_path)) == {url(tmp_path / "one"): 200}
    assert SE.newest(url(tmp_path / "one")) == 200
    assert SE.newest(url(tmp_path / "none")) is None
    assert SE.folders(url(tmp_path / "none")) == {}


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    content = os.urandom(2 * CHUNK + 5)
    SE.put(url(tmp_path / "x"), content)
    pieces = list(SE.chunks(url(tmp_path / "x")))
    assert [len(p) for p in pieces] == [CHUNK, CHUNK, 5]
    assert b"".join(pieces) == content


def test_a_size_is_told_without_reading(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert SE.size(url(tmp_path / "x")) == 1 << 40
    assert SE.size(url(tmp_path / "y")) is None
    assert SE.size(url(tmp_path)) is None


def test_some_files_of_a_tree_are_kept(tmp_path: Path) -> None:
    for name in ("run.json", "batch.json", "sub/reports.json", "sub/x"):
        SE.put(url(tmp_path / "t" / name), b"1")
    assert SE.delete_tree(url(tmp_path / "t"), keep=("run.json", "reports.json")) == 3
    assert [p.name for p in (tmp_path / "t").rglob("*")] == ["run.json"]
    assert SE.delete_tree(url(tmp_path / "t"), keep=("other.json",)) == 1
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("pfn", "served"), [("file:///a", True), ("root://host//a", False), ("https://host/a", False)]
)
def test_only_mounted_storage_is_served(pfn: str, served: bool) -> None:
    assert is_served(pfn) is served
