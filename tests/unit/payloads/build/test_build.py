from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hooks.image_builder import podman_works
from payloads.build import __main__ as program
from payloads.build.__main__ import build, main
from payloads.build.payload import PROJECT
from payloads.build.python_base import libraries_of, python_tree

pytestmark = pytest.mark.xdist_group("podman")  # it does not like company in its storage

NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("images") / "esap-noop-0.1.0.tar.gz"
    build("noop", NOWHERE, target, "rootfs")
    return target


def test_the_digest_stands_beside_the_image(image: Path) -> None:
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    assert image.with_name(f"{image.name}.sha256").read_text() == f"{digest}  {image.name}\n"


def test_equal_inputs_give_equal_bytes(image: Path, tmp_path: Path) -> None:
    assert (
        build("noop", NOWHERE, tmp_path / "again.tar.gz", "rootfs")
        in image.with_name(f"{image.name}.sha256").read_text()
    )


@pytest.mark.skipif(not podman_works(), reason="podman is not there, or podman info fails")
def test_podman_makes_the_same_image(image: Path, tmp_path: Path) -> None:
    digest = build("noop", NOWHERE, tmp_path / "podman.tar.gz", "podman")
    assert digest == hashlib.sha256(image.read_bytes()).hexdigest()


def test_an_image_tells_nothing_of_this_machine_and_has_no_leftovers(image: Path) -> None:
    with tarfile.open(image) as tar:
        members = tar.getmembers()
    assert {(m.uid, m.gid, m.mtime, m.uname) for m in members} == {(0, 0, 0, "")}
    names = [m.name for m in members]
    assert not [name for name in names if "__pycache__" in name or name.startswith(str(PROJECT).lstrip("/"))]
    assert {"usr/local/bin/esap-noop", "usr/local/bin/python3", "usr/bin/env"} <= set(names)


def test_the_image_runs_by_itself(image: Path, tmp_path: Path) -> None:
    """Only `chroot` in a user namespace: how the runner starts it is tested with the runner."""
    root = tmp_path / "root"
    with tarfile.open(image) as tar:
        tar.extractall(root, filter="tar")
    command = ["unshare", "--user", "--map-root-user", f"--root={root}", "esap-noop", "--version"]
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=path)
    assert (done.returncode, done.stdout) == (0, "esap-noop 0.1.0\n"), done.stderr


def test_libraries_that_a_program_loads_are_found() -> None:
    libraries = libraries_of(python_tree(Path(sys.executable)))
    assert any("/libc.so" in name for name in libraries)
    assert all(path.is_file() for path in libraries.values())


def test_a_payload_whose_environment_is_not_there_says_how_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["fits", "--environment", str(tmp_path), "--folder", str(tmp_path), "--builder", "rootfs"])
    assert code == 1
    assert "localgrid/bootstrap.sh fits makes it" in capsys.readouterr().err


def test_what_podman_makes_is_compared_with_what_it_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    monkeypatch.setattr(program, "build_by_podman", lambda _tag, _place: empty.read_bytes())
    assert main(["noop", "--folder", str(tmp_path), "--builder", "podman"]) == 1
    assert "the image holds something else than it was given" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.tar.gz"))
