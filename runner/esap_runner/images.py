"""Which image a batch's payloads run in, and what of the node is mounted in it."""

import os
from typing import Optional, Tuple

from .cache import cached_image, hold, locked
from .containers import CONTAINED, DOCKER, ROOTFS
from .logs import last_words
from .reasons import JobError, Json
from .software import software_root
from .tools import run_tool
from .unpacking import SYSTEM_FOLDERS, check_digest, mount_point, unpack_image
from .values import SHA256

NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")  # of the node, for payloads that may use the network


def site_image(path: str, digest: Optional[str]) -> Tuple[str, str]:
    """Find an image of the site: an archive, or a folder that one was unpacked to; give path and digest.

    PATH.sha256 beside it tells its digest (of a folder, that of its archive) as sha256sum writes it.
    """
    if not os.path.exists(path):
        raise JobError("SOFTWARE_MISSING", f"this site has no image {path}")
    index = path + ".sha256"
    try:
        with open(index, encoding="utf-8") as stream:
            told = (stream.read().split() or [""])[0]
    except (OSError, UnicodeDecodeError) as error:
        if digest and not os.path.isdir(path):
            return path, digest
        raise JobError("SOFTWARE_MISSING", f"the digest of the image {path} is not known: {error}") from error
    if not SHA256.match(told):
        raise JobError("INPUT_CORRUPT", f"{index} holds {told[:80]!r}: allowed 64 hex digits")
    if digest not in (None, told):
        raise JobError("INPUT_CORRUPT", f"the image {path} has sha256 {told}, must have {digest}")
    return path, told


def image_of(batch: Json) -> Tuple[str, str]:
    """Give path and digest of the image that a batch's payloads run in; JobError when the site lacks it."""
    runtime = batch["runtime"]
    if runtime.get("image") is not None:
        return runtime["image"], runtime["sha256"]
    if runtime.get("image_path") is not None:
        return site_image(runtime["image_path"], runtime["sha256"])
    if not batch["software"]:
        raise JobError("SOFTWARE_MISSING", "no software is named, so no image of the site can be chosen")
    one, folder = batch["software"][0], os.path.join(software_root(batch), runtime["images"])
    stem = os.path.join(folder, "{}-{}".format(one["name"], one["version"]))
    return site_image(stem if os.path.isdir(stem) else stem + ".tar.gz", one.get("sha256"))


def unpacked(batch: Json) -> Tuple[str, str]:
    """Give root directory and digest of a batch's image; JobError when there is no such image."""
    path, digest = image_of(batch)
    if not os.path.isdir(path):
        return unpack_image(path, digest), digest
    for name in SYSTEM_FOLDERS:
        mount_point(path, "/" + name)
    return path, digest


def load_into_docker(archive: str, digest: str) -> str:
    """Give docker an image once for all jobs of the node; JobError when it does not take it."""
    name = f"esap/image:{digest}"
    with locked(cached_image(f".lock-docker-{digest}")):
        if run_tool(["docker", "image", "inspect", name], dict(os.environ)).returncode:
            check_digest(archive, digest)
            done = run_tool(["docker", "import", archive, name], dict(os.environ))
            if done.returncode:
                raise JobError("SOFTWARE_MISSING", f"docker takes no image: {last_words(done.stderr)}")
    return name


def mounts_of(runtime: Json, root: Optional[str]) -> Tuple[str, ...]:
    """Give the paths to mount that this node has; JobError when one is missing that must be there."""
    required = runtime.get("required_mounts") or []
    for path in required:
        if not os.path.exists(path):
            raise JobError("SOFTWARE_MISSING", f"this node has no {path}, which the runtime needs")
    optional = [path for path in runtime.get("mounts") or [] if os.path.exists(path)]
    files = [path for path in NETWORK_FILES if runtime.get("network") and os.path.exists(path)]
    if runtime["type"] not in (ROOTFS, "udocker"):
        files = []  # the other engines do that themselves
    found = list(dict.fromkeys([*required, *optional, *files]))
    for path in found if root else ():
        mount_point(str(root), path, is_file=os.path.isfile(path))
    return tuple(found)


def is_unpacked(runtime: Json, name: str) -> bool:
    """True for an input that is an image which this node has unpacked already, and keeps for this job."""
    if runtime["type"] not in (set(CONTAINED) - {DOCKER}) or runtime.get("image") != name:
        return False
    return hold(runtime["sha256"])
