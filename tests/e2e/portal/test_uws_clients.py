"""Clients that others have written run the main workflow from its creation to the downloaded product."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localgrid.layout import PROJECT
from tests.e2e.conftest import Runs
from tests.e2e.uws import Uws

HERE = Path(__file__).parents[1] / "clients"
PYVO, PYTHON2 = PROJECT / ".envs/pyvo/bin/python", PROJECT / ".envs/python2/bin/python2.7"
IRF = "irf.fits.gz"
EXAMPLE = json.loads((PROJECT / "config/workflows/cta_irf/example.json").read_text())


@dataclass
class Client:
    """A client at work; `file` is where it puts the product."""

    process: subprocess.Popen[str]
    file: Path

    def job(self) -> str:
        """Wait for the end and give the job's id, which the client prints last."""
        told, _ = self.process.communicate(timeout=500)
        assert self.process.returncode == 0, told
        return told.split()[-1]


@pytest.fixture(scope="module")
def clients(alice: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """Start those that are there, beside each other, with requests that differ."""
    folder = tmp_path_factory.mktemp("clients")
    started: dict[str, Client] = {}
    fraction = (
        secrets.randbelow(10_000) / 1000
    )  # no request equals one of an earlier session on a standing grid
    for name, python, zenith in (("with_pyvo", PYVO, 30), ("with_uws_client", PYTHON2, 40)):
        if not python.exists():
            continue
        request, target = folder / f"{name}.json", folder / name
        request.write_text(json.dumps({**EXAMPLE, "zenith_deg": zenith + fraction}))
        into = target.with_name(f"{name}.{IRF}")
        process = subprocess.Popen(
            [python, HERE / f"{name}.py", f"{alice.api.url}/uws/cta_irf/jobs", request, IRF,
             into if name == "with_pyvo" else target],
            env={**os.environ, "TOKEN": alice.api.token, "PYTHONPATH": ""},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started[name] = Client(process, into)
    yield started
    for client in started.values():
        client.process.kill()


def require_product(client: Client, alice: Runs) -> None:
    path = f"cta_irf/jobs/{client.job()}"
    product = client.file.read_bytes()
    assert gzip.decompress(product).startswith(b"SIMPLE  =")
    assert len(product) == int(Uws(alice.api).results(path)[IRF].get("size"))


@pytest.mark.skipif(not PYVO.exists(), reason="no .envs/pyvo: run localgrid/bootstrap.sh pyvo")
def test_pyvo(clients: dict[str, Client], alice: Runs) -> None:
    require_product(clients["with_pyvo"], alice)


@pytest.mark.skipif(not PYTHON2.exists(), reason="no .envs/python2: run localgrid/bootstrap.sh python2")
def test_uws_client(clients: dict[str, Client], alice: Runs) -> None:
    require_product(clients["with_uws_client"], alice)
