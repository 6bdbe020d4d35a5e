from __future__ import annotations

import ast
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = Path(__file__).parents[3] / "runner" / "esap_probe.py"


def look(folder: Path, software: list[Any], runtimes: list[Any], **environment: str) -> dict[str, Any]:
    (folder / "probe.json").write_text(json.dumps({"software": software, "runtimes": runtimes}))
    subprocess.run(
        [sys.executable, str(PROBE)], cwd=folder, env={"PATH": "/usr/bin:/bin", **environment}, check=True
    )
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def engine(folder: Path, name: str, code: int) -> str:
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho words; echo it broke\nexit {code}\n")
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


def test_it_is_python_3_6() -> None:
    ast.parse(PROBE.read_text(), feature_version=(3, 6))


def test_software_is_there_when_its_programs_are(tmp_path: Path) -> None:
    (tmp_path / "area" / "prog" / "1.0" / "bin").mkdir(parents=True)
    plain = [{"type": "plain", "software_root_env": "AREA"}]
    found = look(tmp_path, [["prog", "1.0"], ["prog", "2.0"]], plain, AREA=str(tmp_path / "area"))
    assert found["software"] == {
        "prog 1.0": "",
        "prog 2.0": f"{tmp_path / 'area' / 'prog' / '2.0' / 'bin'} is not there",
    }
    assert look(tmp_path, [["prog", "1.0"]], plain)["software"] == {"prog 1.0": "AREA is not set"}


def test_software_that_comes_with_images_is_not_looked_for(tmp_path: Path) -> None:
    assert look(tmp_path, [["prog", "1.0"]], [{"type": "podman"}])["software"] == {"prog 1.0": ""}


def test_an_engine_must_work_and_not_only_be_there(tmp_path: Path) -> None:
    path = engine(tmp_path, "podman", 0)
    engine(tmp_path, "docker", 1)
    found = look(tmp_path, [], [{"type": t} for t in ("plain", "podman", "docker", "apptainer")], PATH=path)
    assert found["runtimes"] == {
        "plain": "",
        "podman": "",
        "docker": "docker ends with 1: it broke",
        "apptainer": "apptainer is not there",
    }


@pytest.mark.parametrize(("bwrap", "unshare", "works"), [(0, 1, True), (1, 0, True), (1, 1, False)])
def test_root_filesystems_start_by_either_engine(
    tmp_path: Path, bwrap: int, unshare: int, works: bool
) -> None:
    engine(tmp_path, "bwrap", bwrap)
    path = engine(tmp_path, "unshare", unshare)
    assert (look(tmp_path, [], [{"type": "rootfs"}], PATH=path)["runtimes"]["rootfs"] == "") is works
    only = look(tmp_path, [], [{"type": "rootfs", "engine": "bwrap"}], PATH=path)["runtimes"]["rootfs"]
    assert (only == "") is (bwrap == 0)


def test_a_runtime_that_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    assert look(tmp_path, [], [{"type": "cloud"}])["runtimes"]["cloud"]


def test_every_engine_of_a_root_filesystem_can_be_tested() -> None:
    probe = runpy.run_path(str(PROBE))
    assert set(probe["ROOTFS"]) <= set(probe["ENGINES"])
