from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from esap_batch.containers import ImageOrder, recipe_digest, unpack
from esap_batch.errors import ConfigurationError
from hooks.errors import BackendRefused
from hooks.image_builder import ImageBuilder, podman_works

pytestmark = pytest.mark.xdist_group("podman")  # it does not like company in its storage

CONFIG = Path(__file__).parents[3] / "config"
ORDER = ImageOrder("tiny", "1.0", {"ANSWER": "42"})
# Stands in for a compiler: notes how it was called, and "compiles" to a script.
COMPILER = f"""#!{sys.executable}
import pathlib, sys
if "--version" in sys.argv:
    print("fake 1.0")
elif "-DBROKEN" in sys.argv:
    sys.exit("tiny.c:1: error: no")
else:
    pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text(" ".join(a for a in sys.argv if "-D" in a))
"""
# Stands in for podman: copies what the Containerfile copies, and exports it as a tar.
PODMAN = f"""#!{sys.executable}
import pathlib, sys, tarfile
state = pathlib.Path(__file__).parent / "image"
if sys.argv[1] == "build":
    name = pathlib.Path("Containerfile").read_text().split("COPY ")[1].split()[0]
    state.write_bytes(pathlib.Path(name).read_bytes())
elif sys.argv[1] == "create":
    print("container1")
elif sys.argv[1] == "export":
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        tar.add(state, "usr/bin/tiny")
elif sys.argv[1] == "info":
    sys.exit(1 if (state.parent / "broken").exists() else 0)
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImageBuilder]:
    """Give a builder with a compiler of the test's own, and nothing else on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    compiler = program(tmp_path / "compiler", COMPILER)
    (tmp_path / "tiny.c").write_text("int main;")
    shutil.copy(CONFIG / "containers.schema.json", tmp_path)

    def make(**changes: Any) -> ImageBuilder:
        image = {
            "name": "tiny",
            "version": "1.0",
            "source": str(tmp_path / "tiny.c"),
            "program": "/usr/bin/tiny",
            "flags": ["-O2"],
        }
        document = {
            "builder": "auto",
            "compilers": [{"command": ["nothing-like-it"]}, {"command": [str(compiler)]}],
            "rse": "LAPALMA-DISK",
            "copies": [],
            "images": [image | changes.pop("image", {})],
        }
        (tmp_path / "containers.yaml").write_text(yaml.safe_dump(document | changes))
        return ImageBuilder.configured(tmp_path)

    return make


def files_of(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        return {f"/{m.name}": stream.read() for m in tar if (stream := tar.extractfile(m))}


def test_the_configuration_of_this_project_is_sound() -> None:
    configured = ImageBuilder.configured(CONFIG)
    recipe = configured.recipe(ImageOrder("corsika", "0.1.0", {"HIGH_MODEL": "EPOS"}))
    assert recipe["program"] == "/usr/bin/corsika"
    assert len(recipe_digest(recipe)) == 64


def test_a_wrong_configuration_is_told(builder: Callable[..., ImageBuilder]) -> None:
    with pytest.raises(ConfigurationError, match=r"\$\.builder: 'docker' is not one of"):
        builder(builder="docker")


def test_the_first_compiler_that_is_there_gets_the_configuration(
    builder: Callable[..., ImageBuilder],
) -> None:
    made = builder(builder="rootfs")
    built = made.build(made.recipe(ORDER))
    assert files_of(built.content) == {"/usr/bin/tiny": b"-DANSWER=42"}
    assert built.made == {"builder": "rootfs", "compiler": "fake 1.0"}


def test_equal_recipes_give_equal_images_by_podman_and_without(
    builder: Callable[..., ImageBuilder], tmp_path: Path
) -> None:
    packed = builder(builder="rootfs")
    first = packed.build(packed.recipe(ORDER))
    program(tmp_path / "bin" / "podman", PODMAN)
    by_podman = builder(builder="auto").build(packed.recipe(ORDER))
    assert by_podman.made["builder"] == "podman"
    assert by_podman.sha256 == first.sha256


def test_a_podman_that_does_not_work_is_not_used(
    builder: Callable[..., ImageBuilder], tmp_path: Path
) -> None:
    program(tmp_path / "bin" / "podman", PODMAN)
    (tmp_path / "bin" / "broken").touch()
    made = builder()
    assert not podman_works()
    assert made.build(made.recipe(ORDER)).made["builder"] == "rootfs"


def test_what_a_compiler_says_is_told(builder: Callable[..., ImageBuilder]) -> None:
    made = builder()
    with pytest.raises(BackendRefused, match=r"ended with 1: tiny\.c:1: error: no"):
        made.build(made.recipe(ImageOrder("tiny", "1.0", {"BROKEN": ""})))


def test_no_compiler_is_told_with_the_way_on(builder: Callable[..., ImageBuilder]) -> None:
    made = builder(compilers=[{"command": ["nothing-like-it"]}])
    with pytest.raises(BackendRefused, match=r"no compiler.*bootstrap\.sh toolchain"):
        made.build(made.recipe(ORDER))


def test_an_unknown_image_is_told_with_the_known_ones(builder: Callable[..., ImageBuilder]) -> None:
    with pytest.raises(BackendRefused, match=r"tiny 2\.0: allowed tiny 1\.0"):
        builder().recipe(ImageOrder("tiny", "2.0", {}))


def test_another_base_needs_podman(builder: Callable[..., ImageBuilder]) -> None:
    made = builder(builder="rootfs", image={"base": "debian"})
    with pytest.raises(BackendRefused, match="base debian needs podman"):
        made.build(made.recipe(ORDER))


@pytest.mark.skipif(shutil.which("cc") is None, reason="this machine has no C compiler on PATH")
def test_the_real_program_is_compiled_and_runs(tmp_path: Path) -> None:
    (tmp_path / "containers.schema.json").write_text((CONFIG / "containers.schema.json").read_text())
    document = yaml.safe_load((CONFIG / "containers.yaml").read_text())
    document |= {"builder": "rootfs", "compilers": [{"command": ["cc"]}]}
    (tmp_path / "containers.yaml").write_text(yaml.safe_dump(document))
    made = ImageBuilder.configured(tmp_path)
    defines = {"HIGH_MODEL": "EPOS", "LOW_MODEL": "FLUKA", "GEOMETRY": "FLAT"}
    recipe = made.recipe(ImageOrder("corsika", "0.1.0", defines))
    first, second = made.build(recipe), made.build(recipe)
    assert first.content == second.content
    corsika = program(tmp_path / "corsika", "")
    corsika.write_bytes(files_of(first.content)["/usr/bin/corsika"])
    done = subprocess.run(
        [corsika], input="RUNNR 1\n", capture_output=True, text=True, check=False, env=os.environ.copy()
    )
    assert (done.returncode, done.stderr) == (2, "toy_corsika: EXIT: the run card ends before it\n")


def test_unpack_reads_what_podman_exports() -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("./usr/bin/tiny")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ab"))
    assert unpack(content.getvalue()) == {"/usr/bin/tiny": b"ab"}
