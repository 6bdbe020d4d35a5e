"""Images, unpacked once for all jobs of a node."""

import contextlib
import errno
import os
import shutil
import tarfile
import zlib

from .cache import cached_image, clear, hold, lock_of, locked, most_mb, new_part, trim
from .containers import INSIDE
from .reasons import JobError
from .streams import checksums_of

SYSTEM_FOLDERS = ("proc", "dev", "sys", "run", "etc", INSIDE.strip("/"))  # that something is mounted at


def check_digest(archive: str, digest: str) -> None:
    """Compare an image with its digest; JobError when it is another one."""
    found = checksums_of(archive).sha256
    if found != digest:
        raise JobError("INPUT_CORRUPT", f"the image {archive} has sha256 {found}, must have {digest}")


def unpack_image(archive: str, digest: str) -> str:
    """Unpack an image into the node's cache, once for all jobs; JobError when it is not what it should be."""
    is_new = False
    while not hold(digest):  # another job may remove it between its unpacking and our use of it
        with locked(lock_of(digest)):
            if not os.path.isdir(cached_image(digest)):  # else another job was faster
                _unpack_with_room(archive, digest)
                is_new = True
    if is_new:
        trim(most_mb())
    return cached_image(digest)


def _unpack_with_room(archive: str, digest: str) -> None:
    """Unpack an image; where the disk is full, once more without any image that no job uses."""
    trim(most_mb())
    try:
        _unpack(archive, digest)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        trim(0)
        _unpack(archive, digest)


def _unpack(archive: str, digest: str) -> None:
    check_digest(archive, digest)
    clear(digest)
    part = new_part(digest)
    try:
        with tarfile.open(archive) as tar:
            extract(tar, part)
        for name in SYSTEM_FOLDERS:
            mount_point(part, "/" + name)
        os.chmod(part, 0o755)  # noqa: S103 - the root directory of the contained payload
        os.rename(part, cached_image(digest))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise JobError("INPUT_CORRUPT", f"the image {archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def mount_point(root: str, path: str, is_file: bool = False) -> None:
    """See that an image has a place to mount something at, or make it; JobError when neither works.

    Links are not followed: they would lead out of the image.
    """
    place, parts = root, [p for p in path.split("/") if p]
    try:
        for n, part in enumerate(parts):
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise OSError(errno.ELOOP, "it is a symbolic link", place)
            if os.path.exists(place):
                continue
            if is_file and n == len(parts) - 1:
                with open(place, "ab"):
                    pass
            else:
                with contextlib.suppress(FileExistsError):  # another job was faster
                    os.mkdir(place)
    except OSError as error:
        message = f"the image has no place to mount {path} at, and none can be made: {error}"
        raise JobError("SOFTWARE_MISSING", message) from error


def extract(tar: tarfile.TarFile, target: str) -> None:
    """Unpack files and directories, then symbolic links; JobError for anything that may lead outside."""
    links = []
    for member in tar:
        parts = [p for p in member.name.split("/") if p not in ("", ".")]
        if ".." in parts or not (member.isfile() or member.isdir() or member.issym()):
            raise JobError("INPUT_CORRUPT", f"the image holds {member.name}, which is not allowed in one")
        path = os.path.join(target, *parts)
        if member.isdir():
            os.makedirs(path, exist_ok=True)
        elif member.issym():
            links.append((member.linkname, path))
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                shutil.copyfileobj(tar.extractfile(member), stream)  # type: ignore[arg-type]
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)
    for goal, path in links:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(goal, path)
