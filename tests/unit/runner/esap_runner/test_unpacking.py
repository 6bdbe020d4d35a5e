from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from esap_batch.containers import pack
from runner.esap_runner import cache, unpacking
from tests.unit.runner.conftest import Node, wait_until
from tests.unit.runner.esap_runner.contained import contained, shell, tar_of, unpacked_at


def test_an_image_is_unpacked_once_and_then_not_even_fetched(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    assert node.run(job).report["reason"] == "OK"
    (node.storage / "image.tar.gz").unlink()
    shutil.rmtree(node.directory)
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert not (node.directory / "image.tar.gz").exists()
    assert unpacked_at(node) == [node.runtime["sha256"]]


def test_two_jobs_at_once_unpack_an_image_once(node: Node, image: bytes) -> None:
    cache = node.root / "images"
    cache.mkdir(mode=0o700)
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    lock = cache / f".lock-{node.runtime['sha256']}"
    other = Node(node.root / "other", node.runner, node.environment, node.runtime)
    other.root.mkdir()
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        started = [node.start(job), other.start(job)]
        for process in started:
            wait_until(partial(is_waiting_for, lock, process.pid), "the job waits for the lock")
        assert unpacked_at(node) == []
    reasons = [node.finish(started[0]).report["reason"], other.finish(started[1]).report["reason"]]
    assert reasons == ["OK", "OK"]
    assert unpacked_at(node) == [node.runtime["sha256"]]


def is_waiting_for(lock: Path, pid: int) -> bool:
    inode = lock.stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return any(
        "->" in line and line.split()[5] == str(pid) and line.split()[6].endswith(f":{inode}")
        for line in lines
    )


def test_what_a_killed_job_has_half_unpacked_is_removed(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    half = node.root / "images" / f".part-{node.runtime['sha256']}-x" / "usr"
    half.mkdir(parents=True)
    (node.root / "images").chmod(0o700)
    assert node.run(job).report["reason"] == "OK"
    assert unpacked_at(node) == [node.runtime["sha256"]]


def test_a_link_in_an_image_is_no_place_to_mount_at(node: Node) -> None:
    outside = node.root / "outside"
    outside.mkdir()
    outcome = node.run(contained(node, tar_of(("work", tarfile.SYMTYPE, str(outside))), shell("true")))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "no place to mount /work at" in outcome.report["message"]
    assert list(outside.iterdir()) == []


def test_another_image_than_the_one_asked_for_is_refused(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    node.runtime["sha256"] = "0" * 64
    outcome = node.run(job)
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert "must have 000" in outcome.report["message"]


@pytest.mark.parametrize(
    "archive",
    [
        tar_of(("../evil", tarfile.REGTYPE, "")),
        tar_of(("dev/sda", tarfile.BLKTYPE, "")),
        tar_of(("a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "a")),
        b"no archive",
    ],
    ids=["path outside", "device", "hard link", "no archive"],
)
def test_an_image_that_may_do_harm_is_refused_and_leaves_nothing(node: Node, archive: bytes) -> None:
    outcome = node.run(contained(node, archive, shell("true")))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert unpacked_at(node) == []


def test_a_link_in_an_image_leads_nowhere_outside_while_it_is_unpacked(node: Node) -> None:
    target = node.root / "outside"
    target.mkdir()
    archive = tar_of(("x", tarfile.SYMTYPE, str(target)), ("x/evil", tarfile.REGTYPE, ""))
    node.run(contained(node, archive, shell("true")))
    assert list(target.iterdir()) == []


def test_a_cache_of_somebody_else_is_not_used(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    (node.root / "images").symlink_to(node.root)
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "not this user's own directory" in outcome.report["message"]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the cache of a runner in this process; what it holds is let go at the end."""
    folder = tmp_path / "images"
    monkeypatch.setenv("ESAP_IMAGE_CACHE", str(folder))
    monkeypatch.setattr(cache, "HELD", {})
    yield folder
    for stream in cache.HELD.values():
        stream.close()


def kept(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.startswith(".lock-")}


def unpacked(tmp_path: Path, name: str) -> str:
    """Unpack an image of a name of ours; give its digest."""
    archive = tmp_path / f"{name}.tar.gz"
    archive.write_bytes(pack({f"/{name}": name.encode() * 100_000}))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    unpacking.unpack_image(str(archive), digest)
    return digest


def let_go(digest: str) -> None:
    """End the job that uses an image."""
    cache.HELD.pop(digest).close()


def full(times: int, code: int = errno.ENOSPC) -> Callable[[tarfile.TarFile, str], None]:
    """Give an `extract` that finds the disk full so many times, with half of an image there."""
    extract, left = unpacking.extract, [OSError(code, "simulated")] * times

    def found_full(tar: tarfile.TarFile, target: str) -> None:
        if left:
            Path(target, "half").touch()
            raise left.pop()
        extract(tar, target)

    return found_full


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_where_the_disk_is_full_images_go_that_no_job_uses(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    unused, used = unpacked(tmp_path, "unused"), unpacked(tmp_path, "used")
    let_go(unused)
    assert kept(images) == {unused, used}
    monkeypatch.setattr(unpacking, "extract", full(1, code))
    new = unpacked(tmp_path, "new")
    assert kept(images) == {used, new}
    assert [p.name for p in (images / new).iterdir() if p.is_file()] == ["new"]


@pytest.mark.parametrize(("code", "unused_goes"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_disk_that_stays_full_or_is_ill_ends_the_job_and_leaves_no_half_of_an_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, unused_goes: bool
) -> None:
    unused = unpacked(tmp_path, "unused")
    let_go(unused)
    monkeypatch.setattr(unpacking, "extract", full(2, code))
    with pytest.raises(OSError, match="simulated") as trouble:
        unpacked(tmp_path, "new")
    assert trouble.value.errno == code
    assert kept(images) == (set() if unused_goes else {unused})
