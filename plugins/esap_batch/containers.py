"""Container images that are made on demand: recipes, their digests, and packing that gives equal bytes.

An image is a root filesystem as one tar.gz. Its name in the lake is the digest of its recipe, so that equal
configurations share one image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from esap_batch.fingerprint import canonical_json

IMAGE_AREA = "/ctao/esap/images"
IMAGE_FILE, RECIPE_FILE = "image.tar.gz", "recipe.json"
DIGEST_DIGITS = 16
SCRATCH = "scratch"
COMPRESSION = 6
LABELS, NOBODY = "org.opencontainers.image", "65534:65534"
RECIPE_SCHEMA = 1


@dataclass(frozen=True)
class ImageOrder:
    """What a use case wants of an image: `defines` configure the program when it is compiled."""

    name: str
    version: str
    defines: Mapping[str, str]


@dataclass(frozen=True)
class ImageSource:
    """How an image of a name and version is made: a C file, and where its program is to stand."""

    source: str
    program: str
    flags: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    base: str = SCRATCH


def recipe_of(order: ImageOrder, how: ImageSource, source: bytes) -> dict[str, Any]:
    """Write the recipe: all that decides what the image holds, and nothing else."""
    return {
        "schema": RECIPE_SCHEMA,
        "name": order.name,
        "version": order.version,
        "base": how.base,
        "program": how.program,
        "source_sha256": hashlib.sha256(source).hexdigest(),
        "flags": list(how.flags),
        "libraries": list(how.libraries),
        "defines": dict(order.defines),
    }


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Give the SHA-256 of a recipe as 64 hex digits."""
    return hashlib.sha256(canonical_json(recipe).encode()).hexdigest()


def image_lfn(recipe: Mapping[str, Any]) -> str:
    """Name the image of a recipe in the lake, without its generation."""
    return f"{IMAGE_AREA}/{recipe['name']}/{recipe_digest(recipe)[:DIGEST_DIGITS]}"


def compile_arguments(recipe: Mapping[str, Any], source: str, output: str) -> list[str]:
    """Give what follows the compiler's name on its command line."""
    defines = [f"-D{k}={v}" if v else f"-D{k}" for k, v in sorted(recipe["defines"].items())]
    libraries = [f"-l{name}" for name in recipe["libraries"]]
    return [*recipe["flags"], *defines, source, "-o", output, *libraries]


def containerfile(recipe: Mapping[str, Any]) -> str:
    """Write the Containerfile for a folder that holds the compiled program under its own name."""
    name = PurePosixPath(recipe["program"]).name
    labels = {
        "title": recipe["name"],
        "version": recipe["version"],
        "licenses": "NOASSERTION",
        "revision": recipe_digest(recipe),
    }
    lines = [f"FROM {recipe['base']}"]
    lines += [f'LABEL {LABELS}.{key}="{value}"' for key, value in labels.items()]
    lines += [f"COPY {name} {recipe['program']}", f"USER {NOBODY}"]
    return "\n".join([*lines, f'ENTRYPOINT ["{recipe["program"]}"]', ""])


def pack(files: Mapping[str, bytes]) -> bytes:
    """Pack executables by their absolute paths into a root filesystem; equal files give equal bytes."""
    folders = sorted({str(f) for name in files for f in PurePosixPath(name).parents} - {"/"})
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in folders:
            tar.addfile(_entry(folder, tarfile.DIRTYPE))
        for name, content in sorted(files.items()):
            entry = _entry(name, tarfile.REGTYPE)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar_bytes.getvalue(), mtime=0)


def unpack(archive: bytes) -> dict[str, bytes]:
    """Give the files of a root filesystem (tar) by their absolute paths."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        content = {m.name: tar.extractfile(m) for m in tar if m.isfile()}
    return {f"/{name.lstrip('./')}": stream.read() for name, stream in content.items() if stream}


@dataclass(frozen=True)
class Link:
    """A symbolic link in an image."""

    goal: str


# A root filesystem: a program's content, a file of this machine, or a link, by its absolute path.
Tree = Mapping[str, bytes | Path | Link]


def pack_tree(tree: Tree, target: IO[bytes]) -> None:
    """Pack a root filesystem as tar.gz without holding it in memory; equal trees give equal bytes."""
    folders = {str(f) for name in tree for f in PurePosixPath(name).parents} - {"/"}
    packed = gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=COMPRESSION, mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted(folders):
            tar.addfile(_entry(folder, tarfile.DIRTYPE))
        for name, content in sorted(tree.items()):
            _add(tar, name, content)


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path | Link) -> None:
    if isinstance(content, Link):
        entry = _entry(name, tarfile.SYMTYPE)
        entry.linkname = content.goal
        tar.addfile(entry)
        return
    entry = _entry(name, tarfile.REGTYPE)
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        return
    status = content.stat()
    entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
    with content.open("rb") as stream:
        tar.addfile(entry, stream)


def _entry(path: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type = kind
    entry.mode = 0o755
    return entry


def image_metadata(recipe: Mapping[str, Any], image_sha256: str, made: Mapping[str, str]) -> dict[str, Any]:
    """Describe an image for the lake. `made` says by what: builder and compiler."""
    defines: Sequence[tuple[str, str]] = sorted(recipe["defines"].items())
    return {
        "image_name": recipe["name"],
        "image_version": recipe["version"],
        "image_recipe": recipe_digest(recipe),
        "image_sha256": image_sha256,
        "image_base": recipe["base"],
        "image_configuration": ", ".join(f"{k}={v}" if v else k for k, v in defines),
        **{f"image_{k}": v for k, v in made.items()},
        "esap_state": "published",
    }
