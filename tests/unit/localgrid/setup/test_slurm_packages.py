"""Debian's packages of SLURM."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgrid.setup import slurm_packages


def test_missing_programs_are_told_by_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        slurm_packages, "path_of", lambda name: "" if name == "slurmd" else f"/usr/bin/{name}"
    )
    monkeypatch.setattr(slurm_packages, "_library", lambda name: None if "mysql" in name else Path(name))
    assert slurm_packages.missing() == ("slurm-wlm-mysql-plugin", "slurmd")
    assert slurm_packages.missing_words() == (
        "SLURM is left out of the local grid. "
        "On Debian: sudo apt-get install --no-install-recommends slurm-wlm-mysql-plugin slurmd"
    )
    monkeypatch.setattr(slurm_packages, "path_of", lambda name: name)
    monkeypatch.setattr(slurm_packages, "_library", Path)
    assert slurm_packages.missing_words() == ""


def test_what_is_missing_is_what_the_set_up_installs() -> None:
    script = Path(slurm_packages.__file__).parents[1] / "packages.sh"
    listed = script.read_text().split('SLURM="')[1].split('"')[0].split()
    assert {*slurm_packages.PROGRAMS.values(), *slurm_packages.LIBRARIES.values()} <= set(listed)
