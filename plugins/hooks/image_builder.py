"""Makes container images: compiles a recipe's program and packs its root filesystem, by podman or without."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.containers import (
    SCRATCH,
    ImageOrder,
    ImageSource,
    compile_arguments,
    containerfile,
    pack,
    recipe_digest,
    recipe_of,
    unpack,
)
from hooks.errors import BackendRefused
from hooks.settings import project_dir

LOG = logging.getLogger(__name__)
SYSTEM = "The image builder"
AUTO, PODMAN, ROOTFS = "auto", "podman", "rootfs"
LONGEST_BUILD_S = 1800  # the first build also compiles the C library
TOLD = 1000  # characters of what a failed program says


@dataclass(frozen=True)
class Built:
    """An image as it was made: a root filesystem (tar.gz), and by what."""

    content: bytes
    made: Mapping[str, str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class ImageBuilder:
    """Builds what config/containers.yaml describes. `rse` and `copies` say where images are kept."""

    builder: str
    compilers: tuple[Mapping[str, Any], ...]
    images: Mapping[tuple[str, str], ImageSource]
    rse: str
    copies: tuple[str, ...]

    @classmethod
    def configured(cls, config_dir: Path) -> ImageBuilder:
        """Read containers.yaml; ConfigurationError when it is missing or wrong."""
        path = config_dir / "containers.yaml"
        document = _placed(read_mapping(path, path.with_name("containers.schema.json")))
        images = {(one["name"], one["version"]): _source(one) for one in document["images"]}
        compilers = tuple(document["compilers"])
        return cls(document["builder"], compilers, images, document["rse"], tuple(document["copies"]))

    def recipe(self, order: ImageOrder) -> dict[str, Any]:
        """Write the recipe of what a use case wants; BackendRefused for an image that is not configured."""
        how = self._how(order.name, order.version)
        return recipe_of(order, how, Path(how.source).read_bytes())

    def build(self, recipe: Mapping[str, Any]) -> Built:
        """Compile and pack; with one compiler equal recipes give equal bytes, by podman and without.

        BackendRefused, with what the program said, when a step fails.
        """
        source = Path(self._how(recipe["name"], recipe["version"]).source)
        with tempfile.TemporaryDirectory(prefix="esap-image-") as scratch:
            place = Path(scratch)
            program = place / PurePosixPath(recipe["program"]).name
            compiler = self._compile(recipe, source, program)
            if self._uses_podman(recipe):
                (place / "Containerfile").write_text(containerfile(recipe))
                files, builder = _by_podman(recipe, place), PODMAN
            else:
                files, builder = {recipe["program"]: program.read_bytes()}, ROOTFS
        return Built(pack(files), {"builder": builder, "compiler": compiler})

    def _how(self, name: str, version: str) -> ImageSource:
        known = [f"{n} {v}" for n, v in sorted(self.images)]
        if (name, version) not in self.images:
            raise BackendRefused(SYSTEM, "containers.yaml", f"{name} {version}: allowed {', '.join(known)}")
        return self.images[name, version]

    def _uses_podman(self, recipe: Mapping[str, Any]) -> bool:
        if self.builder == ROOTFS and recipe["base"] != SCRATCH:
            raise BackendRefused(SYSTEM, ROOTFS, f"base {recipe['base']} needs podman, only scratch does not")
        return self.builder == PODMAN or (self.builder == AUTO and podman_works())

    def _compile(self, recipe: Mapping[str, Any], source: Path, program: Path) -> str:
        """Compile the program; give the compiler's name and version."""
        for one in self.compilers:
            command, environment = list(one["command"]), {**os.environ, **one.get("environment", {})}
            if shutil.which(command[0]) is None:
                continue
            version = _run([*command, "--version"], environment, program.parent).decode().splitlines()[0]
            arguments = compile_arguments(recipe, str(source), program.name)
            _run([*command, *arguments], environment, program.parent)
            return version
        names = ", ".join(str(one["command"][0]) for one in self.compilers)
        cause = f"there is no compiler: looked for {names}; localgrid/bootstrap.sh toolchain installs one"
        raise BackendRefused(SYSTEM, "containers.yaml", cause)


def podman_works() -> bool:
    """Say whether podman is there and can be used."""
    if shutil.which("podman") is None:
        return False
    done = subprocess.run(["podman", "info"], capture_output=True, check=False, timeout=LONGEST_BUILD_S)
    if done.returncode:
        LOG.warning("podman is there but does not work: %s", done.stderr.decode(errors="replace")[-TOLD:])
    return done.returncode == 0


def _by_podman(recipe: Mapping[str, Any], place: Path) -> dict[str, bytes]:
    """Build from the Containerfile in `place` and give the files of the image."""
    return unpack(build_by_podman(f"localhost/esap/{recipe['name']}:{recipe_digest(recipe)[:16]}", place))


def build_by_podman(tag: str, place: Path) -> bytes:
    """Build an image from a folder with its Containerfile; give its root filesystem (tar).

    BackendRefused, with what podman said, when a step fails.
    """
    environment = dict(os.environ)
    how = ["--isolation", "chroot", "--timestamp", "0", "--layers=false"]
    arguments = [*how, "--tag", tag, "--file", "Containerfile", "."]
    _run(["podman", "build", *arguments], environment, place)
    container = _run(["podman", "create", tag], environment, place).decode().strip().splitlines()[-1]
    try:
        return _run(["podman", "export", container], environment, place)
    finally:
        _run(["podman", "rm", container], environment, place)
        _run(["podman", "image", "rm", "--force", tag], environment, place)


def _run(command: Sequence[str], environment: Mapping[str, str], place: Path) -> bytes:
    done = subprocess.run(
        command,
        env=dict(environment),
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=LONGEST_BUILD_S,
    )
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip()[-TOLD:]
        what = f"{' '.join(command[:3])} ended with {done.returncode}: {told}"
        raise BackendRefused(SYSTEM, command[0], what)
    return done.stdout


def _source(entry: Mapping[str, Any]) -> ImageSource:
    return ImageSource(
        source=entry["source"],
        program=entry["program"],
        flags=tuple(entry["flags"]),
        libraries=tuple(entry.get("libraries", ())),
        base=entry.get("base", SCRATCH),
    )


def _placed(node: Any) -> Any:
    """Put the project's folder where {project} stands."""
    if isinstance(node, Mapping):
        return {k: _placed(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_placed(v) for v in node]
    return node.replace("{project}", str(project_dir())) if isinstance(node, str) else node
