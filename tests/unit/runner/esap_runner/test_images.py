from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from tests.unit.runner.conftest import Node
from tests.unit.runner.engines import ENGINES
from tests.unit.runner.esap_runner.contained import contained, shell

pytestmark = pytest.mark.xdist_group("podman")  # it does not like company in its storage


def at_the_site(node: Node, content: bytes, digest: str = "") -> Path:
    """Put an image into the site's folder, with its digest beside it."""
    path = node.root / "software" / "images" / "esap-noop-0.1.0.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    told = digest or hashlib.sha256(content).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{told}  {path.name}\n")
    node.environment["ESAP_IMAGE_CACHE"] = str(node.root / "images")
    node.runtime |= {"type": "rootfs", "images": "images"}
    return path


def test_the_sites_image_holds_payload_and_validator(node: Node, image: bytes) -> None:
    path = at_the_site(node, image)
    output = node.output("out.txt", ["sh", "-c", 'echo \'{"verdict": "valid"}\'; ls / >&2'])
    outcome = node.run(node.job(["sh", "-c", "echo 1 >out.txt"], outputs=[output]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["validation"][0]["verdict"] == "valid"
    assert outcome.report["runtime"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_image_that_the_site_has_unpacked_is_used_as_it_is(node: Node, image: bytes) -> None:
    archive = at_the_site(node, image)
    folder = archive.with_name("esap-noop-0.1.0")
    folder.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")
    digest = hashlib.sha256(image).hexdigest()
    folder.with_name(folder.name + ".sha256").write_text(digest)
    outcome = node.run(node.job(["sh", "-c", "echo 1 >out.txt"], outputs=[node.output("out.txt")]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["runtime"]["sha256"] == digest
    assert not (node.root / "images").exists()


def test_an_image_that_the_site_lacks(node: Node, image: bytes) -> None:
    at_the_site(node, image).unlink()
    outcome = node.run(node.job(["sh", "-c", "true"]))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this site has no image" in outcome.report["message"]
    assert "esap-noop-0.1.0.tar.gz" in outcome.report["message"]


@pytest.mark.parametrize(
    ("digest", "words"), [("0" * 64, "must have 000"), ("latest", "allowed 64 hex digits")]
)
def test_an_image_of_the_site_with_another_digest(node: Node, image: bytes, digest: str, words: str) -> None:
    at_the_site(node, image, digest)
    outcome = node.run(node.job(["sh", "-c", "true"]))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert words in outcome.report["message"]


def test_an_image_of_another_digest_than_the_workflow_has_pinned(node: Node, image: bytes) -> None:
    path = at_the_site(node, image)
    node.runtime |= {"image_path": str(path), "sha256": "0" * 64}
    outcome = node.run(node.job(["sh", "-c", "true"]))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert "must have 000" in outcome.report["message"]


@pytest.mark.parametrize("engine", ENGINES)
def test_software_of_the_node_is_mounted_read_only(node: Node, image: bytes, engine: str) -> None:
    area = node.root / "cvmfs"
    area.mkdir()
    (area / "version").write_text("7\n")
    script = f"cat {area}/version >out.txt; echo 8 >{area}/version || echo refused >>out.txt"
    job = contained(node, image, shell(script), engine, outputs=[node.output("out.txt")])
    node.runtime |= {"mounts": ["/nothing/like/it"], "required_mounts": [str(area)]}
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert node.stored("out.txt").read_text() == "7\nrefused\n"


def test_a_mount_that_must_be_there_and_is_not(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    node.runtime["required_mounts"] = ["/cvmfs/nothing.like.it"]
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this node has no /cvmfs/nothing.like.it" in outcome.report["message"]
