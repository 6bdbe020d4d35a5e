from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.unit.runner.conftest import GROUP, Node, is_alive
from tests.unit.runner.engines import ENGINES
from tests.unit.runner.esap_runner.contained import contained, shell, stand_in

pytestmark = pytest.mark.xdist_group("podman")  # it does not like company in its storage

OF_THE_ENGINE = re.compile(r"(APPTAINER|SINGULARITY)_\w+=")  # it tells the payload of its image and mounts


@pytest.mark.parametrize("engine", ENGINES)
def test_a_payload_works_in_the_jobs_directory_and_sees_nothing_else(
    node: Node, image: bytes, engine: str
) -> None:
    script = (
        "cat given.txt >out.txt; ls / >>out.txt; env >>out.txt; cat /proc/net/dev >>out.txt;"
        "(touch /usr/x || echo read-only) >>out.txt 2>&1"
    )
    job = contained(
        node,
        image,
        shell(script),
        engine,
        files={"given.txt": "hello\n"},
        outputs=[node.output("out.txt")],
        environment={"COLOUR": "red"},
    )
    node.environment["SECRET"] = "of the node"
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    seen = node.stored("out.txt").read_text()
    assert seen.startswith("hello\n")
    assert "\nhome\n" not in seen
    assert "read-only" in seen
    assert [line.split()[0] for line in seen.splitlines() if " 0 " in line] == ["lo:"]
    assert "COLOUR=red" in seen
    assert "PWD=/work" in seen
    assert "SECRET" not in seen
    told = [line for line in seen.splitlines() if str(node.root) in line]
    assert all(OF_THE_ENGINE.match(line) for line in told), told
    assert outcome.report["runtime"]["engine"] == engine


@pytest.mark.parametrize("engine", ENGINES)
def test_validators_run_outside(node: Node, image: bytes, engine: str) -> None:
    output = node.output("hello.json", ["esap-noop", "validate", "hello.json"])
    job = contained(node, image, shell("echo nonsense >hello.json"), engine, outputs=[output])
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["validation"][0]["verdict"] == "unreadable"


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_cannot_be_changed_by_the_payload(node: Node, image: bytes, engine: str) -> None:
    script = (
        "cat given.fits >out.txt; echo x >>given.fits || echo refused >>out.txt; rm -f given.fits;"
        "ls >>out.txt"
    )
    job = contained(node, image, shell(script), engine, outputs=[node.output("out.txt")])
    job["inputs"].append(node.give("given.fits", b"data\n"))
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    seen = node.stored("out.txt").read_text().splitlines()
    assert seen[:2] == ["data", "refused"]
    assert "given.fits" in seen
    assert (node.directory / "given.fits").read_bytes() == b"data\n"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("network", [False, True])
def test_the_network_is_there_only_when_the_workflow_asks(
    node: Node, image: bytes, engine: str, network: bool
) -> None:
    job = contained(
        node, image, shell("cat /proc/net/dev >out.txt"), engine, outputs=[node.output("out.txt")]
    )
    node.runtime["network"] = network
    assert node.run(job).report["reason"] == "OK"
    devices = node.stored("out.txt").read_text().splitlines()[2:]
    here = Path("/proc/net/dev").read_text().splitlines()[2:]
    assert len(devices) == (len(here) if network else 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_terminated_job_takes_its_container_with_it(node: Node, image: bytes, engine: str) -> None:
    process = node.start(contained(node, image, shell("echo 1 >pid; sleep 300"), engine))
    node.pid_of()
    process.send_signal(signal.SIGTERM)
    outcome = node.finish(process)
    assert outcome.report["reason"] == "TERMINATED"
    assert [p for p in Path("/proc").glob("[0-9]*") if _is_ours(p, node)] == []
    if engine == "podman":
        names = subprocess.run(
            ["podman", "ps", "--all", "--format={{.Names}}"], capture_output=True, text=True, check=True
        )
        assert GROUP not in names.stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_a_container_that_a_killed_runner_left_is_in_nobodys_way(
    node: Node, image: bytes, engine: str
) -> None:
    process = node.start(contained(node, image, shell("echo 1 >pid; sleep 300"), engine))
    node.pid_of()
    process.kill()
    process.wait()
    outcome = node.run(
        contained(node, image, shell("echo 2 >out.txt"), engine, outputs=[node.output("out.txt")])
    )
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert [p for p in Path("/proc").glob("[0-9]*") if _is_ours(p, node)] == []


@pytest.mark.parametrize(
    ("engine", "code", "told"),
    [
        ("podman", 126, "Error: OCI runtime error: crun: cgroups in hybrid mode not supported"),
        ("podman", 125, "Error: cannot open storage"),
        ("apptainer", 255, "FATAL:   while extracting: no space"),
        ("udocker", 1, "Error: no execmode"),
    ],
)
def test_an_engine_that_does_not_work(node: Node, image: bytes, engine: str, code: int, told: str) -> None:
    stand_in(node, engine, f'[ "$1" = --version ] || [ "$1" = rm ] || {{ echo "{told}" >&2; exit {code}; }}')
    outcome = node.run(contained(node, image, shell("true"), engine))
    assert outcome.report["reason"] == "SOFTWARE_MISSING", outcome.stdout
    assert f"{engine} could not start the payload: {told}" in outcome.report["message"]


DOCKER = """
echo "$@" >>{log}
case "$1 $2" in
    "image inspect") [ -e {root}/loaded ] ;;
    "import "*) touch {root}/loaded ;;
    "run "*) exit {code} ;;
    "inspect "*) echo {oom} ;;
    "rm "*) echo "Error: No such container: x" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("code", "oom", "reason"),
    [(0, "false", "OK"), (137, "true", "MEMORY_LIMIT"), (137, "false", "PAYLOAD_SIGNAL")],
)
def test_docker_loads_an_image_once_and_tells_of_its_memory_limit(
    node: Node, image: bytes, code: int, oom: str, reason: str
) -> None:
    log = node.root / "docker.log"
    stand_in(node, "docker", DOCKER.format(log=log, root=node.root, code=code, oom=oom))
    for _ in range(2):
        outcome = node.run(contained(node, image, shell("true"), "docker"))
        assert outcome.report["reason"] == reason, outcome.stdout
    called = [line.split()[0] for line in log.read_text().splitlines()]
    assert called.count("import") == 1
    assert called.count("run") == 2
    assert called[-1] == "rm"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "PAYLOAD_FAILED"),
        ("sleep 300", "TIME_LIMIT"),
        ("x=$(head -c 300000000 /dev/zero | cat -v); sleep 300", "MEMORY_LIMIT"),
    ],
)
def test_limits_hold_and_nothing_is_left(
    node: Node, image: bytes, engine: str, script: str, reason: str
) -> None:
    limits = {"wall_time_s": 1 if reason == "TIME_LIMIT" else 60, "memory_mb": 100}
    outcome = node.run(contained(node, image, shell(script), engine, limits=limits))
    assert outcome.report["reason"] == reason, outcome.stdout
    assert [p for p in Path("/proc").glob("[0-9]*") if _is_ours(p, node)] == []


def _is_ours(process: Path, node: Node) -> bool:
    try:
        return is_alive(int(process.name)) and str(node.directory) in str((process / "cwd").readlink())
    except OSError:
        return False


def test_a_program_that_the_image_lacks_fails_the_payload(node: Node, image: bytes) -> None:
    outcome = node.run(contained(node, image, ["/usr/bin/corsika"]))
    assert outcome.report["reason"] == "PAYLOAD_FAILED"
    assert "corsika" in outcome.report["payload_log_tail"]
