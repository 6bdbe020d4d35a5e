"""Images without a registry: stand-ins of the base images from Debian's packages, then the project's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localgrid.layout import PROJECT
from tests.deploy.engine import HERE, Engine
from tests.deploy.shell import run

DEBIAN = "debian:bookworm-slim"
# The stand-in of each base image that docker-compose.yaml and the Dockerfiles name.
STANDINS = {
    "python": "python:3.11-slim-bookworm",
    "redis": "redis:7.2-bookworm",
    "postgres": "postgres:16-bookworm",
    "nginx": "nginx:1.28-bookworm",
    "prometheus": "prom/prometheus:v3.5.0",
    "statsd-exporter": "prom/statsd-exporter:v0.28.0",
}
# Of what each of the project's own images is built.
OWN = {
    "esap-batch:0.1.0": ("Dockerfile",),
    "esap-batch-git:0.1.0": ("Dockerfile", "--target", "git"),
    "esap-batch-grid:0.1.0": ("deploy/grid/Dockerfile",),
}
EXPORTER = PROJECT / "localgrid" / "programs" / "statsd_exporter.py"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def ids(engine: Engine, *which: str) -> set[str]:
    """Give the ids of images: all, those of a name, or those that `--filter` and the like choose."""
    return set(engine.docker("image", "ls", "--quiet", "--no-trunc", *which).split())


@contextmanager
def images(engine: Engine, project: Path, work: Path) -> Iterator[dict[str, int]]:
    """Give the size of each image (bytes); in the end the names mean what they meant before."""
    before = ids(engine, "--all")
    meant = {name: ids(engine, name) for name in (*OWN, *STANDINS.values(), DEBIAN)}
    try:
        yield _make_all(engine, project, work)
    finally:
        for name, known in meant.items():
            if known:
                engine.docker("tag", *known, name)
            elif ids(engine, name):
                engine.docker("image", "rm", name)
        # What has lost its name, stages of builds too: each goes with those that it alone was made of.
        while nameless := ids(engine, "--filter", "dangling=true") - before:
            engine.docker("image", "rm", *nameless)


def _make_all(engine: Engine, project: Path, work: Path) -> dict[str, int]:
    """Build what is missing, the project's own images always."""
    if not ids(engine, DEBIAN):
        _make_debian(engine, work)
    context = work / "standins"
    shutil.copytree(HERE / "standins", context)
    shutil.copy(CERTIFICATES, context)  # the machine may trust more than Debian does
    shutil.copy(EXPORTER, context)
    for name, image in STANDINS.items():
        if not ids(engine, image):
            _build(engine, image, context / f"{name}.Containerfile", context)
    for image, (file, *options) in OWN.items():
        _build(engine, image, project / file, project, *options)
    return {image: _size(engine, image) for image in (*STANDINS.values(), *OWN)}


def _make_debian(engine: Engine, work: Path) -> None:
    archive = work / "debian.tar"
    lists = Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")
    options = ["--variant=minbase", "--include=ca-certificates,tzdata"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
    run("mmdebstrap", *options, "bookworm", archive, next(path for path in lists if path.exists()))
    changes = ("CMD bash", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    engine.docker("import", *(part for one in changes for part in ("--change", one)), archive, DEBIAN)
    archive.unlink()


def _build(engine: Engine, image: str, file: Path, context: Path, *options: str) -> None:
    engine.docker(
        "build", "--network", "host", "--tag", image, "--file", file, *options, context, within=1800
    )


def _size(engine: Engine, image: str) -> int:
    return int(json.loads(engine.docker("image", "inspect", image))[0]["Size"])
