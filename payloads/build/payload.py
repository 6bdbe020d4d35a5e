"""The part of an image that is the payload: its environment's packages, its own, and its programs."""

from __future__ import annotations

import re
from pathlib import Path

from esap_batch.containers import LABELS, Link
from payloads.build.python_base import HOME, files_of, libraries_of, python_tree, tools_tree

PROJECT = Path(__file__).resolve().parents[2]
INTERPRETER = f"#!{HOME}/bin/python3\n".encode()
_SHEBANG = re.compile(rb"^#!\S*python[\d.]*\n")
# What an installer leaves that tells of this machine, or makes links to this project's folder.
_OF_THE_MACHINE = re.compile(
    r"(^|/)(_editable_impl_|__editable__|_virtualenv)|\.dist-info/(RECORD|direct_url\.json|uv_|INSTALLER|REQUESTED)"
)
_LABEL = re.compile(rf'{re.escape(LABELS)}\.(\w+)="([^"]*)"')


def names() -> list[str]:
    """Name the payloads that have a Containerfile."""
    return sorted(path.parent.name for path in (PROJECT / "payloads").glob("*/Containerfile"))


def labels_of(name: str) -> dict[str, str]:
    """Read a payload's labels: title, version, licenses."""
    return dict(_LABEL.findall((PROJECT / "payloads" / name / "Containerfile").read_text()))


def payload_tree(name: str, environment: Path, python: Path) -> dict[str, bytes | Path | Link]:
    """Give the root filesystem of a payload.

    FileNotFoundError when its environment is not there.

    :param environment: what localgrid/bootstrap.sh has made for the payload, if it has packages.
    :param python: runs the payload when there is no environment.
    """
    sources = PROJECT / "payloads" / name
    is_package = (sources / "pyproject.toml").exists()
    if is_package and not (environment / "bin" / "python").exists():
        raise FileNotFoundError(f"{environment} is not there: localgrid/bootstrap.sh {name} makes it")
    tree = python_tree(environment / "bin" / "python" if is_package else python) | tools_tree()
    packages = next(path for path in tree if path.endswith("/os.py")).removesuffix("os.py") + "site-packages"
    if is_package:
        tree |= _environment_tree(environment, packages)
    for path in files_of(sources / "bin", skipped={"__pycache__"}):
        tree[f"{HOME}/bin/{path.name}"] = _script(path)
    for folder in _own_packages(environment if is_package else None):
        for path in files_of(folder, skipped={"__pycache__"}):
            tree[f"{packages}/{path.relative_to(folder)}"] = path
    return tree | libraries_of(tree)


def _environment_tree(environment: Path, packages: str) -> dict[str, bytes | Path | Link]:
    """Give an environment's packages, and its programs that are Python scripts."""
    (installed,) = environment.glob("lib/python3*/site-packages")
    tree: dict[str, bytes | Path | Link] = {}
    for path in files_of(installed, skipped={"__pycache__"}):
        relative = str(path.relative_to(installed))
        if not _OF_THE_MACHINE.search(relative):
            tree[f"{packages}/{relative}"] = path
    for path in files_of(environment / "bin"):
        if not path.is_symlink() and _SHEBANG.match(path.read_bytes()):
            tree[f"{HOME}/bin/{path.name}"] = _script(path)
    return tree


def _own_packages(environment: Path | None) -> list[Path]:
    """Give the source folders of this project that an environment holds as links."""
    if environment is None:
        return []
    links = environment.glob("lib/python3*/site-packages/_editable_impl_*.pth")
    return sorted(Path(path.read_text().strip()) for path in links)


def _script(path: Path) -> bytes | Path:
    """Have a script start with the image's Python."""
    content = path.read_bytes()
    return _SHEBANG.sub(INTERPRETER, content, count=1) if _SHEBANG.match(content) else path
