"""Images that a node has unpacked: which go when they take too much, and that none goes in use."""

from __future__ import annotations

import hashlib

import pytest

from esap_batch.containers import pack
from tests.unit.runner.conftest import Node, Outcome
from tests.unit.runner.engines import with_libraries
from tests.unit.runner.esap_runner.contained import PROGRAMS, contained, shell, unpacked_at

MEGABYTE = 1_000_000
PADDING = "/usr/share/padding"


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    """Make images of some 12 MB each, by a letter of ours."""
    programs = with_libraries(PROGRAMS)
    return {name: pack({**programs, PADDING: name.encode() * 10 * MEGABYTE}) for name in "abc"}


def use(node: Node, image: bytes, most_mb: str) -> Outcome:
    node.environment["ESAP_IMAGE_CACHE_MB"] = most_mb
    return node.run(contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")]))


def there(node: Node, images: dict[str, bytes]) -> str:
    """Name the images that the node has, by their letters."""
    letters = {hashlib.sha256(content).hexdigest(): name for name, content in images.items()}
    return "".join(sorted(letters[digest] for digest in unpacked_at(node)))


def test_what_was_not_used_for_longest_goes_first(node: Node, images: dict[str, bytes]) -> None:
    for name in "aba":
        assert use(node, images[name], "35").report["reason"] == "OK"
    assert there(node, images) == "ab"
    outcome = use(node, images["c"], "35")
    assert outcome.report["reason"] == "OK"
    assert there(node, images) == "ac"
    assert "removed the image" in outcome.stdout
    assert use(node, images["b"], "100").report["reason"] == "OK", "it is unpacked anew"
    assert there(node, images) == "abc"


def test_the_job_keeps_its_own_image_however_large_it_is(node: Node, images: dict[str, bytes]) -> None:
    for name in "ab":
        assert use(node, images[name], "1").report["reason"] == "OK"
    assert there(node, images) == "b"


def test_an_image_in_use_stays(node: Node, images: dict[str, bytes]) -> None:
    waits = shell("echo 1 >pid; while [ ! -e go ]; do sleep 0.1; done")
    process = node.start(contained(node, images["a"], waits))
    node.pid_of()
    job = contained(node, images["b"], shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    environment = {**node.environment, "ESAP_IMAGE_CACHE_MB": "1"}
    other = Node(node.root / "other", node.runner, environment, dict(node.runtime))
    other.root.mkdir()
    assert other.run(job).report["reason"] == "OK"
    assert there(node, images) == "ab"
    (node.directory / "go").touch()
    assert node.finish(process).report["reason"] == "OK"
    assert use(node, images["c"], "1").report["reason"] == "OK"
    assert there(node, images) == "c"


def test_what_killed_jobs_have_left_of_other_images_goes_too(node: Node, images: dict[str, bytes]) -> None:
    half = node.root / "images" / f".part-{'0' * 64}-x" / "usr"
    half.mkdir(parents=True)
    (node.root / "images").chmod(0o700)
    assert use(node, images["a"], "100").report["reason"] == "OK"
    assert there(node, images) == "a"
    assert not half.parent.exists()


def test_nothing_but_images_is_touched(node: Node, images: dict[str, bytes]) -> None:
    other = node.root / "images" / "of somebody"
    other.mkdir(parents=True)
    (node.root / "images").chmod(0o700)
    assert use(node, images["a"], "1").report["reason"] == "OK"
    assert other.is_dir()


@pytest.mark.parametrize("most", ["", "-1", "much"])
def test_a_bound_that_is_no_number_is_told(node: Node, images: dict[str, bytes], most: str) -> None:
    outcome = use(node, images["a"], most)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert f"ESAP_IMAGE_CACHE_MB = {most!r}: allowed is a number of MB" in outcome.report["message"]
    assert there(node, images) == "", "it is told before anything is unpacked"
