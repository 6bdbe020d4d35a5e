"""Jobs of a real SLURM in a site's image, by each runtime that the local site offers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esap_batch.jobs import InputFile, JobSpec, JobState, Limits, OutputSpec
from localgrid.layout import PROJECT
from tests.integration.backends.places import Slurm, a_batch, firsts

IMAGE = PROJECT / ".envs" / "images" / "esap-root-0.2.0.tar.gz"
APPTAINER = PROJECT / ".envs" / "apptainer" / "bin" / "apptainer"
HERE = "localgrid/bootstrap.sh {} makes it"
LOOK = """
import json, os, pathlib, socket, uproot
given = pathlib.Path("given.txt")
try:
    given.write_text("other")
except OSError as error:
    refused = os.strerror(error.errno)
devices = [name for _, name in socket.if_nameindex()]
seen = [given.read_text(), refused, devices, os.getcwd(), os.listdir("/usr/local/bin")]
json.dump(seen, open("seen.json", "w"))
"""
pytestmark = pytest.mark.skipif(not IMAGE.exists(), reason=f"no {IMAGE}: {HERE.format('root')}")


@pytest.mark.parametrize(
    ("runtime", "engines"),
    [
        ("rootfs", {"bwrap", "unshare"}),
        pytest.param(
            "apptainer",
            {"apptainer"},
            marks=pytest.mark.skipif(
                not APPTAINER.exists(), reason=f"no {APPTAINER}: {HERE.format('apptainer')}"
            ),
        ),
    ],
)
def test_a_job_runs_in_the_sites_image(
    slurm: Slurm, tmp_path: Path, wait_for: Callable[..., Any], runtime: str, engines: set[str]
) -> None:
    content = b"measured"
    (tmp_path / "given.txt").write_bytes(content)
    given = InputFile(
        "given.txt", "/given", len(content), f"{zlib.adler32(content):08x}", f"file://{tmp_path}/given.txt"
    )
    job = JobSpec(
        0,
        ("python3", "-c", LOOK),
        inputs=(given,),
        outputs=(OutputSpec("seen.json", "/seen", pfn=f"file://{tmp_path}/seen.json"),),
        limits=Limits(600, 500),
    )
    software = ({"name": "esap-root", "version": "0.2.0"},)
    way = {"type": runtime, "software_root_env": "ESAP_SW_DIR", "images": "images"}
    batch = a_batch(slurm, 1, jobs=(job,), runtime=way, software=software)
    backend = slurm.open(slurm.owner)
    backend.submit(batch, firsts(batch))

    def end() -> Any:
        found = backend.attempts(batch.group)
        return found if found and all(a.state.is_terminal for a in found) else None

    (attempt,) = wait_for(end, 240)
    report = backend.reports([attempt])[attempt.job_id]
    assert attempt.state is JobState.DONE, report
    assert report["runtime"]["engine"] in engines
    assert report["runtime"]["sha256"] == IMAGE.with_name(f"{IMAGE.name}.sha256").read_text().split()[0]
    text, refused, devices, place, programs = json.loads((tmp_path / "seen.json").read_text())
    assert (text, refused) == ("measured", "Read-only file system")
    assert (devices, place) == (["lo"], "/work")
    assert "esap-root" in programs
