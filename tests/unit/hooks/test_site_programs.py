from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hooks.settings import runner_dir
from hooks.site_programs import file_name, packed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "greets"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text('HELLO = "hello"\n')
    (package / "program.py").write_text(
        "from .words import HELLO\n\ndef main():\n    print(HELLO)\n    return 3\n"
    )
    (package / "notes.txt").write_text("not for the sites")
    (tmp_path / "other").mkdir()
    return tmp_path


def test_a_packed_program_starts_by_itself(folder: Path) -> None:
    program = folder / file_name("greets")
    program.write_bytes(packed(folder, "greets"))
    program.chmod(0o755)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([program], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("hello\n", 3)


def test_the_archive_holds_the_package_and_nothing_else(folder: Path) -> None:
    names = zipfile.ZipFile(io.BytesIO(packed(folder, "greets"))).namelist()
    assert names == ["__main__.py", "greets/__init__.py", "greets/program.py", "greets/words.py"]


def test_equal_sources_give_equal_bytes_whenever_they_were_written(folder: Path) -> None:
    before = packed(folder, "greets")
    for path in (folder / "greets").glob("*.py"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o755)
    assert packed(folder, "greets") == before
    (folder / "greets" / "words.py").write_text('HELLO = "bye"\n')
    assert packed(folder, "greets") != before


def test_a_package_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no package other in"):
        packed(folder, "other")


@pytest.mark.parametrize("package", ["esap_runner", "esap_slurm"])
def test_the_programs_of_this_project_answer(package: str, tmp_path: Path) -> None:
    program = tmp_path / file_name(package)
    program.write_bytes(packed(runner_dir(), package))
    done = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {program.name}")
