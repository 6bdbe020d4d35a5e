"""Builds a payload's image: `python -m payloads.build noop`."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from esap_batch.containers import Link, Tree, pack_tree
from hooks.errors import BackendRefused
from hooks.image_builder import AUTO, PODMAN, ROOTFS, build_by_podman, podman_works
from payloads.build.payload import PROJECT, labels_of, names, payload_tree


def build(name: str, environment: Path, target: Path, builder: str) -> str:
    """Build a payload's image and put it, with its digest beside it, at a path; give the digest.

    Both builders give the same bytes. FileNotFoundError and BackendRefused say what is missing.
    """
    tree = payload_tree(name, environment, Path(sys.executable))
    if builder == PODMAN:
        tree = by_podman(name, tree)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            pack_tree(tree, stream)
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    target.with_name(target.name + ".sha256").write_text(f"{digest}  {target.name}\n")
    return digest


def by_podman(name: str, tree: Tree) -> dict[str, bytes | Path | Link]:
    """Have podman build an image from a tree by the payload's Containerfile; give the tree it made."""
    with tempfile.TemporaryDirectory(prefix="esap-image-") as scratch:
        place = Path(scratch)
        shutil.copy(PROJECT / "payloads" / name / "Containerfile", place)
        for path, content in tree.items():
            _write(place / "rootfs" / path.lstrip("/"), content)
        content = build_by_podman(f"localhost/esap/{name}:{labels_of(name)['version']}", place)
    made: dict[str, bytes | Path | Link] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            path = "/" + member.name.lstrip("./")
            if member.issym():
                made[path] = Link(member.linkname)
            elif (stream := tar.extractfile(member)) is not None:
                made[path] = stream.read()
    return {path: _equal_to(made.get(path), path, kept) for path, kept in tree.items()}


def _equal_to(
    content: bytes | Path | Link | None, path: str, wanted: bytes | Path | Link
) -> bytes | Path | Link:
    """Give what was asked for, when podman has made just that."""
    expected = wanted.read_bytes() if isinstance(wanted, Path) else wanted
    if content != expected:
        raise BackendRefused("podman", path, "the image holds something else than it was given")
    return wanted


def _write(path: Path, content: bytes | Path | Link) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.goal)
    elif isinstance(content, Path):
        shutil.copy(content, path)
    else:
        path.write_bytes(content)
        path.chmod(0o755)


def main(arguments: list[str] | None = None) -> int:
    """Build what the command line names; tell digest and size."""
    parser = argparse.ArgumentParser(prog="payloads.build", description=__doc__)
    parser.add_argument("name", choices=names())
    parser.add_argument("--environment", type=Path, help="default: .envs/NAME")
    parser.add_argument("--folder", type=Path, default=PROJECT / ".envs" / "images")
    parser.add_argument("--builder", choices=[AUTO, PODMAN, ROOTFS], default=AUTO)
    options = parser.parse_args(arguments)
    labels, started = labels_of(options.name), time.monotonic()
    builder = options.builder
    if builder == AUTO:
        builder = PODMAN if podman_works() else ROOTFS
    target = options.folder / f"{labels['title']}-{labels['version']}.tar.gz"
    environment = options.environment or PROJECT / ".envs" / options.name
    try:
        digest = build(options.name, environment, target, builder)
    except (BackendRefused, FileNotFoundError) as error:
        print(f"payloads.build: {error}", file=sys.stderr)
        return 1
    size, seconds = target.stat().st_size / 1e6, time.monotonic() - started
    print(f"{target}\nsha256:{digest}  {size:.1f} MB by {builder} in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
