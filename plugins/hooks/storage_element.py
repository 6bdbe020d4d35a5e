"""Files on a storage element by their PFN, where this service reaches the storage itself.

Served: `file://` (a mounted file system). Other schemes are refused by name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from hooks.errors import RefusedForGood

CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A file as it lies on storage: size in bytes, adler32 as eight hex digits."""

    size: int
    adler32: str


class StorageElement:
    """Look at, write, move and delete files. Every method may be called again."""

    def exists(self, pfns: Iterable[str]) -> set[str]:
        """Give those of `pfns` that are there."""
        return {pfn for pfn in pfns if local_path(pfn).is_file()}

    def stat(self, pfn: str) -> Stored | None:
        """Read a file through and give its size and checksum; None when it is not there."""
        path, value, size = local_path(pfn), 1, 0
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                value, size = zlib.adler32(chunk, value), size + len(chunk)
        return Stored(size, f"{value:08x}")

    def read(self, pfn: str) -> bytes:
        """Give the content of a small file."""
        return local_path(pfn).read_bytes()

    def size(self, pfn: str) -> int | None:
        """Give a file's size in bytes without reading it; None when it is not there."""
        path = local_path(pfn)
        return path.stat().st_size if path.is_file() else None

    def chunks(self, pfn: str) -> Iterator[bytes]:
        """Read a file of any size piece by piece."""
        with local_path(pfn).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk

    def put(self, pfn: str, content: bytes) -> Stored:
        """Write a small file: it is there whole or not at all."""
        path = local_path(pfn)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as part:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        return Stored(len(content), f"{zlib.adler32(content):08x}")

    def mark(self, pfn: str) -> None:
        """Make an empty file, or make it new, by this service's clock."""
        path, now = local_path(pfn), time.time()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (now, now))

    def changed(self, pfn: str) -> float | None:
        """Give the time (Unix) of a file's last change; None when it is not there."""
        try:
            return local_path(pfn).stat().st_mtime
        except FileNotFoundError:
            return None

    def move(self, source: str, target: str) -> None:
        """Move a file; a source that is gone was moved by an earlier try if the target is there."""
        old, new = local_path(source), local_path(target)
        if not old.exists() and new.exists():
            return
        new.parent.mkdir(parents=True, exist_ok=True)
        old.replace(new)

    def delete(self, pfns: Iterable[str]) -> int:
        """Delete files, and what broken uploads of them have left; give how many were there."""
        names: dict[Path, set[str]] = {}
        for path in map(local_path, pfns):
            names.setdefault(path.parent, set()).add(path.name)
        gone = [
            entry
            for folder, known in names.items()
            for entry in (folder.iterdir() if folder.is_dir() else ())
            if entry.name in known or _part_of(entry.name) in known
        ]
        for entry in gone:
            entry.unlink(missing_ok=True)
        return len(gone)

    def folders(self, pfn: str) -> dict[str, float]:
        """Give the PFN of each folder directly below, with the time (Unix) of the newest change in it."""
        path = local_path(pfn)
        found = [p for p in sorted(path.iterdir()) if p.is_dir()] if path.is_dir() else []
        return {f"{pfn.rstrip('/')}/{quote(p.name)}": _newest(p) for p in found}

    def newest(self, pfn: str) -> float | None:
        """Give the time (Unix) of the newest change in a folder; None when there is none."""
        path = local_path(pfn)
        return _newest(path) if path.is_dir() else None

    def delete_tree(self, pfn: str, keep: Collection[str] = ()) -> int:
        """Delete a directory with all below it; give how many files are gone.

        Files directly in it whose names are in `keep` stay, and then the directory does.
        """
        path = local_path(pfn)
        if not path.is_dir():
            return 0
        count = _count(path)
        if not any((path / name).is_file() for name in keep):
            shutil.rmtree(path)
            return count
        for entry in path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in keep:
                entry.unlink()
        return count - _count(path)


def _count(folder: Path) -> int:
    return sum(1 for p in folder.rglob("*") if p.is_file())


def _part_of(name: str) -> str:
    """Give the file that the runner was uploading under this temporary name; no name for any other file."""
    return name[1:].rpartition("~")[0] if name.startswith(".") and name.endswith(".part") else ""


def _newest(folder: Path) -> float:
    return max(p.stat().st_mtime for p in (folder, *folder.rglob("*")))


def is_served(pfn: str) -> bool:
    """Tell whether this service reaches the storage that a PFN is on."""
    return urlsplit(pfn).scheme == "file"


def local_path(pfn: str) -> Path:
    """Give the path of a `file://` PFN; RefusedForGood for another scheme."""
    url = urlsplit(pfn)
    if url.scheme != "file":
        raise RefusedForGood("The storage element", pfn, f"scheme {url.scheme!r} is not served, only file")
    return Path(unquote(url.path))
