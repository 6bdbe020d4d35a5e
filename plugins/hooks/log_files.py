"""Log files of Airflow's tasks and of its DAG processor, as they lie in `[logging] base_log_folder`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

RUNS = "dag_id=*/run_id=*"


def old_run_logs(folder: Path, before: float, is_alive: Callable[[str], bool]) -> Iterator[Path]:
    """Give the folders of runs in which nothing was written since `before` (Unix time) and that are over."""
    for path in sorted(folder.glob(RUNS)):
        run = f"{path.parent.name.partition('=')[2]}/{path.name.partition('=')[2]}"
        if newest(path) < before and not is_alive(run):
            yield path


def old_other_logs(folder: Path, before: float) -> Iterator[Path]:
    """Give the files beside those of runs that were not written to since `before`."""
    for top in sorted(folder.iterdir()):
        if top.is_dir() and not top.is_symlink() and not top.name.startswith("dag_id="):
            yield from (p for p in _files(top) if p.stat().st_mtime < before)


def newest(folder: Path) -> float:
    """Say when something in a folder was written last (Unix time)."""
    return max((p.stat().st_mtime for p in _files(folder)), default=folder.stat().st_mtime)


def remove(path: Path) -> None:
    """Delete a folder or a file, and the folders above that it leaves empty."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for above in list(path.parents)[:2]:
        if any(above.iterdir()):
            return
        above.rmdir()


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):  # does not follow links
        yield from (p for p in (Path(place, name) for name in names) if not p.is_symlink())
