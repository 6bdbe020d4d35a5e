from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

from tests.unit.runner.conftest import Json, Node
from tests.unit.runner.engines import PODMAN_OPTIONS

PROGRAMS = ("sh", "cat", "ls", "touch", "env", "sleep", "kill", "head")


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
    if engine in ("bwrap", "unshare"):
        node.runtime["engine"] = engine
    elif engine:
        node.runtime["type"] = engine
    if engine == "podman":
        node.runtime["options"] = PODMAN_OPTIONS
    return node.job(command, inputs=[node.give("image.tar.gz", content)], **more)


def shell(script: str) -> list[str]:
    return ["/usr/bin/sh", "-c", script]


def unpacked_at(node: Node) -> list[str]:
    """Name all in the node's cache but the locks."""
    return [p.name for p in (node.root / "images").iterdir() if not p.name.startswith(".lock-")]


def stand_in(node: Node, name: str, script: str) -> Path:
    """Put a program of the test's own in front of the node's PATH."""
    path = node.root / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    node.environment["PATH"] = f"{path.parent}:{node.environment['PATH']}"
    return path
