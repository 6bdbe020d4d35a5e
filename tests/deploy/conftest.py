"""One deployment for all tests of this folder, which run in the order in which they are written."""

from __future__ import annotations

import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployment import Deployment, copy_project
from tests.deploy.engine import Engine, engine
from tests.deploy.growth import Repository, further, grow, start, told
from tests.deploy.images import ids, images
from tests.deploy.test_deployment import product
from tests.deploy.test_deployment import start as begin

Say = Callable[[str], None]


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    # Not pytest's own: Unix sockets have short paths only, and images would stay for three runs.
    with tempfile.TemporaryDirectory(prefix="esap-deploy-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(scope="session")
def figures() -> dict[str, object]:
    """What was measured; shown at the end."""
    return {}


@pytest.fixture(scope="session")
def docker(work: Path) -> Iterator[Engine]:
    with engine(work / "docker") as found:
        yield found


@pytest.fixture(scope="session")
def deployment(
    docker: Engine, work: Path, figures: dict[str, object], request: pytest.FixtureRequest
) -> Iterator[Deployment]:
    project = copy_project(work / "project")
    with images(docker, project, work) as sizes:
        figures |= {f"size of {name}": f"{size / 1e6:.0f} MB" for name, size in sizes.items()}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        made = Deployment(docker, project, f"esap-test-{uuid.uuid4().hex[:6]}", port)
        made.script("make_secrets.sh")
        try:
            figures["first start"] = f"{made.up():.0f} s"
            yield made
        finally:
            made.down()
            # Beside the tests' dots, for docs/deploy.md.
            with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                print("", *(f"{name}: {value}" for name, value in figures.items()), sep="\n")  # noqa: T201


@pytest.fixture(scope="session")
def repository(work: Path, deployment: Deployment) -> Repository:
    """Make a repository with the project's DAGs and one of the tests' own."""
    made = Repository.make(work / "repository", deployment.project / "dags")
    made.push("told.py", told("first"))
    return made


@pytest.fixture(scope="session")
def grown(deployment: Deployment, repository: Repository, figures: dict[str, object]) -> Deployment:
    """Give the deployment with monitoring, DAGs from git and a queue that other machines reach."""
    made = grow(deployment, repository)
    figures["start with all overlays"] = f"{start(made):.0f} s"
    return made


@pytest.fixture(scope="session")
def machine(grown: Deployment, work: Path, figures: dict[str, object]) -> Iterator[Deployment]:
    """Give a further machine, with a worker."""
    made = further(grown, work / "machine")
    try:
        figures["start of a worker on a further machine"] = f"{made.up('worker'):.0f} s"
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def made_there(grown: Deployment, machine: Deployment, wait_for: Callable[..., Any]) -> str:
    """Make a product of alice's while no worker runs on the first machine, and give the run."""
    alice = grown.api("alice")
    grown.compose("stop", "worker")
    try:
        run = begin(alice, azimuth_deg=270)
        product(alice, run, wait_for)
    finally:
        grown.up("--no-deps", "worker")
    return run


@pytest.fixture(scope="session", autouse=True)
def left_behind(docker: Engine) -> Iterator[None]:
    """See that containers, images, volumes and networks are what they were."""

    def there() -> set[str]:
        listed = docker.docker("ps", "--all", "--quiet"), docker.docker("volume", "ls", "--quiet")
        named = set(" ".join((*listed, docker.docker("network", "ls", "--quiet"))).split())
        return named | ids(docker, "--all")

    before = there()
    yield
    assert there() - before == set()
