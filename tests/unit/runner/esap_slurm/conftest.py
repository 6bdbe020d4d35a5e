from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.esap_slurm.folders import Area

Says = Callable[..., Path]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Give a function that puts a stand-in of one of SLURM's commands on PATH; gives the log of its calls."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name: str, out: str = "", errors: str = "", code: int = 0) -> Path:
        log = folder / f"{name}.log"
        (folder / f"{name}.out").write_text(out)
        (folder / f"{name}.err").write_text(errors)
        lines = [
            "#!/bin/sh",
            f'echo "$@" >>{log}',
            f"cat {folder}/{name}.out",
            f"cat {folder}/{name}.err >&2",
        ]
        program = folder / name
        program.write_text("\n".join([*lines, f"exit {code}", ""]))
        program.chmod(0o755)
        return log

    return put


@pytest.fixture
def area(tmp_path: Path) -> Area:
    """Give the folder of a batch, made."""
    made = Area(str(tmp_path / "work"), "alice", "esap-abc")
    Path(made.folder).mkdir(parents=True)
    return made
