"""The node's folder of unpacked images: who uses which, and which go when there are too many."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from typing import Any, Dict, Iterator, List, Tuple

from .limits import disk_mb
from .logs import say
from .reasons import JobError

IMAGE_CACHE = "ESAP_IMAGE_CACHE"  # names the folder
IMAGE_CACHE_MB = "ESAP_IMAGE_CACHE_MB"  # says how much it may take
MOST_MB = 20000.0
IMAGE, PART = re.compile(r"^[0-9a-f]{64}$"), re.compile(r"^\.part-([0-9a-f]{64})-")
HELD: Dict[str, Any] = {}  # locks of images that this job uses, until it ends


def cached_image(digest: str) -> str:
    """Give the place of an unpacked image; JobError when the folder is not this user's."""
    cache = os.environ.get(IMAGE_CACHE) or f"/var/tmp/esap-images-{os.getuid()}"  # noqa: S108 - checked below
    os.makedirs(cache, mode=0o700, exist_ok=True)
    found = os.lstat(cache)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise JobError("SOFTWARE_MISSING", f"the image cache {cache} is not this user's own directory")
    return os.path.join(cache, digest)


def lock_of(digest: str) -> str:
    """Give the path of an image's lock; it is as old as the image's last use."""
    return cached_image(f".lock-{digest}")


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock that all jobs of the node see; it ends with the process at the latest."""
    with open(path, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def hold(digest: str) -> bool:
    """Keep an image from being removed for as long as this job runs; False when it is not unpacked."""
    if digest in HELD:
        return True
    stream = open(lock_of(digest), "ab")  # noqa: SIM115 - closed when the job ends
    fcntl.flock(stream, fcntl.LOCK_SH)
    if not os.path.isdir(cached_image(digest)):
        stream.close()
        return False
    os.utime(stream.fileno())
    HELD[digest] = stream
    return True


def most_mb() -> float:
    """Give how much the folder may take; JobError when the site says no number."""
    told = os.environ.get(IMAGE_CACHE_MB, str(MOST_MB))
    if not re.match(r"^\d+(\.\d+)?$", told):
        raise JobError("SOFTWARE_MISSING", f"{IMAGE_CACHE_MB} = {told!r}: allowed is a number of MB")
    return float(told)


def trim(limit_mb: float) -> None:
    """Remove the images that have not been used for longest until the rest may stay; never one in use."""
    cache = os.path.dirname(cached_image(""))
    for digest in {found.group(1) for found in map(PART.match, os.listdir(cache)) if found}:
        remove(digest, only_parts=True)
    sizes = {name: disk_mb(os.path.join(cache, name)) for name in os.listdir(cache) if IMAGE.match(name)}
    total = sum(sizes.values())
    for _, digest in by_last_use(list(sizes)):
        if total <= limit_mb:
            return
        if remove(digest):
            say(f"removed the image {digest} from this node: images took {total:.0f} of {limit_mb:g} MB")
            total -= sizes[digest]


def by_last_use(digests: List[str]) -> List[Tuple[float, str]]:
    """Give images with the time of their last use, the oldest first."""
    known = [(lock_of(digest), digest) for digest in digests]
    return sorted((os.stat(lock).st_mtime if os.path.exists(lock) else 0.0, digest) for lock, digest in known)


def remove(digest: str, only_parts: bool = False) -> bool:
    """Remove an image and what killed jobs have left of it; False when a job uses or unpacks it."""
    with open(lock_of(digest), "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not only_parts:  # renamed first, so that nobody takes half of it for an image
            with contextlib.suppress(FileNotFoundError):  # another job was faster
                os.rename(cached_image(digest), new_part(digest))
        clear(digest)
    return True


def new_part(digest: str) -> str:
    """Make a folder for an image that is not whole; its lock must be held."""
    return tempfile.mkdtemp(prefix=f".part-{digest}-", dir=os.path.dirname(cached_image(digest)))


def clear(digest: str) -> None:
    """Remove all that is there of an image but itself; its lock must be held."""
    cache = os.path.dirname(cached_image(digest))
    for name in os.listdir(cache):
        if name.startswith(f".part-{digest}-"):
            shutil.rmtree(os.path.join(cache, name))
