"""Payloads in images: what they see of the node, what they may not, and that limits hold for them too."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from esap_batch.containers import pack

from .conftest import Json, Node, is_alive

ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not there"))
    for name in ("bwrap", "unshare")
]
PROGRAMS = ("sh", "cat", "ls", "touch", "env", "sleep", "kill", "head")


def with_libraries(programs: tuple[str, ...]) -> dict[str, bytes]:
    """Give programs of this machine with the libraries that they load, by their paths in an image."""
    files: dict[str, bytes] = {}
    for name in programs:
        path = str(shutil.which(name))
        files[f"/usr/bin/{name}"] = Path(path).read_bytes()
        told = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for word in told.split():
            if word.startswith("/"):
                files[word] = Path(word).read_bytes()
    return files


@pytest.fixture(scope="module")
def image() -> bytes:
    return pack(with_libraries(PROGRAMS))


def tar_of(*members: tuple[str, bytes, str]) -> bytes:
    """Make an archive by hand: type, name, and what a link leads to."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            tar.addfile(member)
    return content.getvalue()


def contained(node: Node, content: bytes, command: list[str], engine: str = "", **more: Any) -> Json:
    """Describe a job in an image; the node's cache of images is the test's own."""
    node.environment["ESAP_IMAGE_CACHE"] = str(node.root / "images")
    node.runtime |= {"type": "rootfs", "image": "image.tar.gz", "sha256": hashlib.sha256(content).hexdigest()}
    if engine:
        node.runtime["engine"] = engine
    return node.job(command, inputs=[node.give("image.tar.gz", content)], **more)


def shell(script: str) -> list[str]:
    return ["/usr/bin/sh", "-c", script]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_payload_works_in_the_jobs_directory_and_sees_nothing_else(
    node: Node, image: bytes, engine: str
) -> None:
    script = (
        "cat given.txt >out.txt; ls / >>out.txt; env >>out.txt; cat /proc/net/dev >>out.txt;"
        "(touch /usr/x || echo read-only) >>out.txt 2>&1"
    )
    job = contained(
        node,
        image,
        shell(script),
        engine,
        files={"given.txt": "hello\n"},
        outputs=[node.output("out.txt")],
        environment={"COLOUR": "red"},
    )
    node.environment["SECRET"] = "of the node"
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    seen = node.stored("out.txt").read_text()
    assert seen.startswith("hello\n")
    assert "\nhome\n" not in seen
    assert "read-only" in seen
    assert [line.split()[0] for line in seen.splitlines() if " 0 " in line] == ["lo:"]
    assert "COLOUR=red" in seen
    assert "PWD=/work" in seen
    assert "SECRET" not in seen
    assert str(node.root) not in seen
    assert outcome.report["runtime"]["engine"] == engine


@pytest.mark.parametrize("engine", ENGINES)
def test_validators_run_outside(node: Node, image: bytes, engine: str) -> None:
    output = node.output("hello.json", ["esap-noop", "validate", "hello.json"])
    job = contained(node, image, shell("echo nonsense >hello.json"), engine, outputs=[output])
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["validation"][0]["verdict"] == "unreadable"


def test_an_image_is_unpacked_once_and_then_not_even_fetched(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    assert node.run(job).report["reason"] == "OK"
    (node.storage / "image.tar.gz").unlink()
    shutil.rmtree(node.directory)
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert not (node.directory / "image.tar.gz").exists()
    assert [p.name for p in (node.root / "images").iterdir()] == [node.runtime["sha256"]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "PAYLOAD_FAILED"),
        ("sleep 300", "TIME_LIMIT"),
        ("x=$(head -c 300000000 /dev/zero | cat -v); sleep 300", "MEMORY_LIMIT"),
    ],
)
def test_limits_hold_and_nothing_is_left(
    node: Node, image: bytes, engine: str, script: str, reason: str
) -> None:
    limits = {"wall_time_s": 1 if reason == "TIME_LIMIT" else 60, "memory_mb": 100}
    outcome = node.run(contained(node, image, shell(script), engine, limits=limits))
    assert outcome.report["reason"] == reason, outcome.stdout
    assert [p for p in Path("/proc").glob("[0-9]*") if _is_ours(p, node)] == []


def _is_ours(process: Path, node: Node) -> bool:
    try:
        return is_alive(int(process.name)) and str(node.directory) in str((process / "cwd").readlink())
    except OSError:
        return False


def test_a_program_that_the_image_lacks_fails_the_payload(node: Node, image: bytes) -> None:
    outcome = node.run(contained(node, image, ["/usr/bin/corsika"]))
    assert outcome.report["reason"] == "PAYLOAD_FAILED"
    assert "corsika" in outcome.report["payload_log_tail"]


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
)
def test_an_image_that_may_do_harm_is_refused_and_leaves_nothing(node: Node, archive: bytes) -> None:
    outcome = node.run(contained(node, archive, shell("true")))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert list((node.root / "images").iterdir()) == []


def test_a_link_in_an_image_leads_nowhere_outside_while_it_is_unpacked(node: Node) -> None:
    target = node.root / "outside"
    target.mkdir()
    archive = tar_of(("x", tarfile.SYMTYPE, str(target)), ("x/evil", tarfile.REGTYPE, ""))
    node.run(contained(node, archive, shell("true")))
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": "../image.tar.gz"}, "runtime.image"),
        ({"image": "other.tar.gz"}, "allowed is the name of an input"),
        ({"sha256": "short"}, "runtime.sha256"),
    ],
)
def test_a_wrong_description_is_told(node: Node, image: bytes, change: Json, words: str) -> None:
    job = contained(node, image, shell("true"))
    node.runtime |= change
    outcome = node.run(job)
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert words in outcome.report["message"]


def test_a_cache_of_somebody_else_is_not_used(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    (node.root / "images").symlink_to(node.root)
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "not this user's own directory" in outcome.report["message"]


def test_a_node_that_cannot_start_images_says_so(node: Node, image: bytes) -> None:
    outcome = node.run(contained(node, image, shell("true"), "docker"))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this node cannot start images: docker is not there" in outcome.report["message"]
