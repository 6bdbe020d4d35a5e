"""The part of an image that every payload needs: Python, shared libraries, a shell and a few tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from esap_batch.containers import Link, Tree

HOME = "/usr/local"
# What scripts and workflows of payloads start; a tool that is not here is left out.
TOOLS = (
    *("sh", "bash", "env", "cat", "cp", "ls", "mkdir", "mv", "rm", "touch", "ln", "echo", "printf", "test"),
    *("head", "tail", "sort", "uniq", "cut", "tr", "wc", "tee", "grep", "sed", "awk", "find", "xargs"),
    *("basename", "dirname", "date", "sleep", "true", "false", "tar", "gzip"),
)
NOT_NEEDED = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tkinter",
    "turtledemo",
}
USERS = b"root:x:0:0:root:/work:/bin/sh\nnobody:x:65534:65534:nobody:/work:/bin/sh\n"
GROUPS = b"root:x:0:\nnogroup:x:65534:\n"
_ASK = (
    "import json, sys, sysconfig; v = sys.version_info;"
    "print(json.dumps([f'{sys.base_prefix}/bin/python{v[0]}.{v[1]}', sysconfig.get_path('stdlib')]))"
)


def python_tree(python: Path) -> dict[str, bytes | Path | Link]:
    """Give the interpreter behind a `python` with its standard library, at /usr/local.

    CalledProcessError when that Python does not run.
    """
    told = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True).stdout
    program, library = map(Path, json.loads(told))
    tree: dict[str, bytes | Path | Link] = {
        f"{HOME}/bin/{program.name}": program.resolve(),
        f"{HOME}/bin/python3": Link(program.name),
        f"{HOME}/bin/python": Link(program.name),
        "/etc/passwd": USERS,
        "/etc/group": GROUPS,
    }
    for path in files_of(library, skipped=NOT_NEEDED):
        if not path.relative_to(library).parts[0].startswith("config-"):
            tree[f"{HOME}/lib/{library.name}/{path.relative_to(library)}"] = path
    return tree


def tools_tree() -> dict[str, bytes | Path | Link]:
    """Give the shell and the few tools that scripts expect."""
    found = {name: shutil.which(name) for name in TOOLS}
    tree: dict[str, bytes | Path | Link] = {
        f"/usr/bin/{name}": Path(path).resolve() for name, path in found.items() if path
    }
    return tree | {"/bin": Link("usr/bin")}


def files_of(folder: Path, skipped: Iterable[str] = ()) -> Iterator[Path]:
    """Give all files below a folder but those in folders of some names; links to files count as files."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {*skipped})
        yield from (Path(place, name) for name in sorted(names) if Path(place, name).is_file())


def libraries_of(tree: Tree) -> dict[str, Path]:
    """Give the shared libraries that a tree's programs load and do not bring, by their paths in the image.

    All lie where the C library does: its loader looks there. CalledProcessError when ldd fails.
    """
    binaries = sorted({path for path in tree.values() if isinstance(path, Path) and _is_elf(path)})
    own = {path.resolve() for path in binaries}
    told = _ldd(binaries) if binaries else ""
    loaded = {Path(word) for line in told.splitlines() for word in _paths_in(line)}
    missing = {path for path in loaded if path.resolve() not in own}
    home = next(path.parent for path in missing if path.name.startswith("libc.so"))
    return {
        str(path if path.name.startswith("ld-") else home / path.name): path.resolve() for path in missing
    }


def _ldd(binaries: list[Path]) -> str:
    """Ask ldd; what is no dynamic program ends it with 1, which says nothing about the others."""
    done = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False)
    if "not a dynamic executable" not in done.stderr + done.stdout:
        done.check_returncode()
    return done.stdout


def _paths_in(line: str) -> list[str]:
    return [word for word in line.split() if word.startswith("/") and not word.endswith(":")]


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"
