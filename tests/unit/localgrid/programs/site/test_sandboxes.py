"""Extraction of sandboxes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from localgrid.programs.site.access import RefusedError
from localgrid.programs.site.sandboxes import extract


def archive(*members: tarfile.TarInfo) -> tarfile.TarFile:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            member.size = 4 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"data"))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, "/etc/passwd"
    return info


def test_files_and_directories_come_out(tmp_path: Path) -> None:
    program, deep = member("run.sh", mode=0o755), member("deep/a.txt")
    extract(archive(program, member("deep", tarfile.DIRTYPE), deep), tmp_path / "job")
    assert (tmp_path / "job" / "deep" / "a.txt").read_text() == "data"
    assert (tmp_path / "job" / "run.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "bad",
    [
        member("../evil"),
        member("/tmp/evil"),
        member("link", tarfile.SYMTYPE),
        member("hard", tarfile.LNKTYPE),
    ],
)
def test_what_leads_elsewhere_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    with pytest.raises(RefusedError, match="allowed are files and directories"):
        extract(archive(bad), tmp_path / "job")
    assert list(tmp_path.rglob("*")) == [tmp_path / "job"]
