"""Payloads in a root filesystem, without any engine of containers."""

from typing import List

from .containers import INSIDE, Container


def by_bwrap(box: Container, command: List[str]) -> List[str]:
    """Bubblewrap: no other process, and it ends with the runner."""
    places = ["--ro-bind", box.root, "/", "--dev", "/dev", "--proc", "/proc", "--bind", box.directory, INSIDE]
    for source, target in box.binds:
        places += ["--ro-bind", source, target]
    apart = ["--unshare-all", *(["--share-net"] if box.network else []), "--die-with-parent", "--new-session"]
    return ["bwrap", *places, "--chdir", INSIDE, *apart, *box.options, "--", *command]


UNSHARE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--ipc",
    "--fork",
    "--kill-child",
]
# What bwrap does, with util-linux alone. A mount that was nosuid, nodev or noexec must stay so.
MOUNTS = """set -e
root=$1 work=$2
shift 2
read_only() {
    for kept in "" ,nosuid,nodev ,nosuid,nodev,noexec; do
        mount -o "remount,bind,ro$kept" "$1" 2>/dev/null && return
    done
    mount -o remount,bind,ro "$1"
}
mount --bind "$root" "$root"
mount --bind "$work" "$root/work"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64k,mode=755 dev "$root/dev"
for name in null zero random urandom; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$2"
    read_only "$root$2"
    shift 2
done
shift
read_only "$root"
exec unshare --root="$root" --wd=/work -- "$@"
"""


def by_unshare(box: Container, command: List[str]) -> List[str]:
    """Util-linux, for nodes without bubblewrap."""
    apart = UNSHARE if box.network else [*UNSHARE, "--net"]
    binds = [word for pair in box.binds for word in pair]
    script = ["sh", "-c", MOUNTS, "esap-rootfs", box.root, box.directory, *binds]
    return [*apart, *box.options, "--", *script, "--", *command]
