from __future__ import annotations

from runner.esap_runner.rootfs import MOUNTS
from tests.unit.runner.esap_runner.boxes import CLOSED, COMMAND, OPEN, line


def test_bwrap() -> None:
    start = ["bwrap", "--ro-bind", "/cache/0123", "/", "--dev", "/dev", "--proc", "/proc"]
    binds = ["--bind", "/jobs/7", "/work", "--ro-bind", "/jobs/7/in, 1.fits", "/work/in, 1.fits"]
    binds += ["--ro-bind", "/cvmfs", "/cvmfs", "--chdir", "/work", "--unshare-all"]
    end = ["--die-with-parent", "--new-session", "--site", "--", *COMMAND]
    assert line("bwrap", CLOSED) == [*start, *binds, *end]
    assert line("bwrap", OPEN) == [*start, *binds, "--share-net", *end]


def test_unshare() -> None:
    start = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--ipc", "--fork", "--kill-child"]
    script = ["--site", "--", "sh", "-c", MOUNTS, "esap-rootfs", "/cache/0123", "/jobs/7"]
    binds = ["/jobs/7/in, 1.fits", "/work/in, 1.fits", "/cvmfs", "/cvmfs", "--", *COMMAND]
    assert line("unshare", CLOSED) == [*start, "--net", *script, *binds]
    assert line("unshare", OPEN) == [*start, *script, *binds]
