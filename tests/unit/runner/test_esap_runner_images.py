"""Payloads in images: what they see of the node, what they may not, and that limits hold for them too."""

from __future__ import annotations

import fcntl
import hashlib
import io
import shutil
import signal
import subprocess
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from esap_batch.containers import pack

from .conftest import GROUP, Json, Node, is_alive, wait_until
from .engines import ENGINES, PODMAN_OPTIONS, with_libraries

pytestmark = pytest.mark.xdist_group("podman")  # it does not like company in its storage

PROGRAMS = ("sh", "cat", "ls", "touch", "env", "sleep", "kill", "head")


@pytest.fixture(scope="module")
def image() -> bytes:
    return pack(with_libraries(PROGRAMS))


def tar_of(*members: tuple[str, bytes, str]) -> bytes:
    """Make an archive by hand: type, name, and what a link leads to."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            tar.addfile(member)
    return content.getvalue()


def contained(node: Node, content: bytes, command: list[str], engine: str = "", **more: Any) -> Json:
    """Describe a job in an image; the node's cache of images is the test's own."""
    node.environment["ESAP_IMAGE_CACHE"] = str(node.root / "images")
    node.runtime |= {"type": "rootfs", "image": "image.tar.gz", "sha256": hashlib.sha256(content).hexdigest()}
    if engine in ("bwrap", "unshare"):
        node.runtime["engine"] = engine
    elif engine:
        node.runtime["type"] = engine
    if engine == "podman":
        node.runtime["options"] = PODMAN_OPTIONS
    return node.job(command, inputs=[node.give("image.tar.gz", content)], **more)


def shell(script: str) -> list[str]:
    return ["/usr/bin/sh", "-c", script]


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
    assert str(node.root) not in seen
    assert outcome.report["runtime"]["engine"] == engine


@pytest.mark.parametrize("engine", ENGINES)
def test_validators_run_outside(node: Node, image: bytes, engine: str) -> None:
    output = node.output("hello.json", ["esap-noop", "validate", "hello.json"])
    job = contained(node, image, shell("echo nonsense >hello.json"), engine, outputs=[output])
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["validation"][0]["verdict"] == "unreadable"


def test_an_image_is_unpacked_once_and_then_not_even_fetched(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    assert node.run(job).report["reason"] == "OK"
    (node.storage / "image.tar.gz").unlink()
    shutil.rmtree(node.directory)
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert not (node.directory / "image.tar.gz").exists()
    assert unpacked_at(node) == [node.runtime["sha256"]]


def unpacked_at(node: Node) -> list[str]:
    """Name all in the node's cache but the locks."""
    return [p.name for p in (node.root / "images").iterdir() if not p.name.startswith(".lock-")]


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
def test_software_of_the_node_is_mounted_read_only(node: Node, image: bytes, engine: str) -> None:
    area = node.root / "cvmfs"
    area.mkdir()
    (area / "version").write_text("7\n")
    script = f"cat {area}/version >out.txt; echo 8 >{area}/version || echo refused >>out.txt"
    job = contained(node, image, shell(script), engine, outputs=[node.output("out.txt")])
    node.runtime |= {"mounts": ["/nothing/like/it"], "required_mounts": [str(area)]}
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert node.stored("out.txt").read_text() == "7\nrefused\n"


def test_a_mount_that_must_be_there_and_is_not(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    node.runtime["required_mounts"] = ["/cvmfs/nothing.like.it"]
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this node has no /cvmfs/nothing.like.it" in outcome.report["message"]


def test_two_jobs_at_once_unpack_an_image_once(node: Node, image: bytes) -> None:
    cache = node.root / "images"
    cache.mkdir(mode=0o700)
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    lock = cache / f".lock-{node.runtime['sha256']}"
    other = Node(node.root / "other", node.runner, node.environment, node.runtime)
    other.root.mkdir()
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        started = [node.start(job), other.start(job)]
        for process in started:
            wait_until(partial(is_waiting_for, lock, process.pid), "the job waits for the lock")
        assert unpacked_at(node) == []
    reasons = [node.finish(started[0]).report["reason"], other.finish(started[1]).report["reason"]]
    assert reasons == ["OK", "OK"]
    assert unpacked_at(node) == [node.runtime["sha256"]]


def is_waiting_for(lock: Path, pid: int) -> bool:
    inode = lock.stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return any(
        "->" in line and line.split()[5] == str(pid) and line.split()[6].endswith(f":{inode}")
        for line in lines
    )


def test_what_a_killed_job_has_half_unpacked_is_removed(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("echo 1 >out.txt"), outputs=[node.output("out.txt")])
    half = node.root / "images" / f".part-{node.runtime['sha256']}-x" / "usr"
    half.mkdir(parents=True)
    (node.root / "images").chmod(0o700)
    assert node.run(job).report["reason"] == "OK"
    assert unpacked_at(node) == [node.runtime["sha256"]]


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


# --- images of the site ---------------------------------------------------------------------------


def at_the_site(node: Node, content: bytes, digest: str = "") -> Path:
    """Put an image into the site's folder, with its digest beside it."""
    path = node.root / "software" / "images" / "esap-noop-0.1.0.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    told = digest or hashlib.sha256(content).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{told}  {path.name}\n")
    node.environment["ESAP_IMAGE_CACHE"] = str(node.root / "images")
    node.runtime |= {"type": "rootfs", "images": "images"}
    return path


def test_the_sites_image_holds_payload_and_validator(node: Node, image: bytes) -> None:
    path = at_the_site(node, image)
    output = node.output("out.txt", ["sh", "-c", 'echo \'{"verdict": "valid"}\'; ls / >&2'])
    outcome = node.run(node.job(["sh", "-c", "echo 1 >out.txt"], outputs=[output]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["validation"][0]["verdict"] == "valid"
    assert outcome.report["runtime"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_image_that_the_site_has_unpacked_is_used_as_it_is(node: Node, image: bytes) -> None:
    archive = at_the_site(node, image)
    folder = archive.with_name("esap-noop-0.1.0")
    folder.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")
    digest = hashlib.sha256(image).hexdigest()
    folder.with_name(folder.name + ".sha256").write_text(digest)
    outcome = node.run(node.job(["sh", "-c", "echo 1 >out.txt"], outputs=[node.output("out.txt")]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert outcome.report["runtime"]["sha256"] == digest
    assert not (node.root / "images").exists()


def test_an_image_that_the_site_lacks(node: Node, image: bytes) -> None:
    at_the_site(node, image).unlink()
    outcome = node.run(node.job(["sh", "-c", "true"]))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this site has no image" in outcome.report["message"]
    assert "esap-noop-0.1.0.tar.gz" in outcome.report["message"]


@pytest.mark.parametrize(
    ("digest", "words"), [("0" * 64, "must have 000"), ("latest", "allowed 64 hex digits")]
)
def test_an_image_of_the_site_with_another_digest(node: Node, image: bytes, digest: str, words: str) -> None:
    at_the_site(node, image, digest)
    outcome = node.run(node.job(["sh", "-c", "true"]))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert words in outcome.report["message"]


def test_an_image_of_another_digest_than_the_workflow_has_pinned(node: Node, image: bytes) -> None:
    path = at_the_site(node, image)
    node.runtime |= {"image_path": str(path), "sha256": "0" * 64}
    outcome = node.run(node.job(["sh", "-c", "true"]))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert "must have 000" in outcome.report["message"]


def test_a_link_in_an_image_is_no_place_to_mount_at(node: Node) -> None:
    outside = node.root / "outside"
    outside.mkdir()
    outcome = node.run(contained(node, tar_of(("work", tarfile.SYMTYPE, str(outside))), shell("true")))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "no place to mount /work at" in outcome.report["message"]
    assert list(outside.iterdir()) == []


# --- engines that do not work ---------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["apptainer", "docker", "podman", "udocker"])
def test_an_engine_that_the_node_lacks(node: Node, image: bytes, engine: str) -> None:
    job = contained(node, image, shell("true"), engine)
    node.environment["PATH"] = str(node.root)
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert f"this node cannot start images: {engine} is not there" in outcome.report["message"]
    assert not (node.directory / "image.tar.gz").exists()


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


def stand_in(node: Node, name: str, script: str) -> Path:
    """Put a program of the test's own in front of the node's PATH."""
    path = node.root / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    node.environment["PATH"] = f"{path.parent}:{node.environment['PATH']}"
    return path


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


def test_a_docker_without_its_daemon(node: Node, image: bytes) -> None:
    stand_in(node, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    outcome = node.run(contained(node, image, shell("true"), "docker"))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "docker says: Cannot connect to the Docker daemon" in outcome.report["message"]


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


def test_another_image_than_the_one_asked_for_is_refused(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    node.runtime["sha256"] = "0" * 64
    outcome = node.run(job)
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert "must have 000" in outcome.report["message"]


@pytest.mark.parametrize(
    "archive",
    [
        tar_of(("../evil", tarfile.REGTYPE, "")),
        tar_of(("dev/sda", tarfile.BLKTYPE, "")),
        tar_of(("a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "a")),
        b"no archive",
    ],
)
def test_an_image_that_may_do_harm_is_refused_and_leaves_nothing(node: Node, archive: bytes) -> None:
    outcome = node.run(contained(node, archive, shell("true")))
    assert outcome.report["reason"] == "INPUT_CORRUPT"
    assert unpacked_at(node) == []


def test_a_link_in_an_image_leads_nowhere_outside_while_it_is_unpacked(node: Node) -> None:
    target = node.root / "outside"
    target.mkdir()
    archive = tar_of(("x", tarfile.SYMTYPE, str(target)), ("x/evil", tarfile.REGTYPE, ""))
    node.run(contained(node, archive, shell("true")))
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": "../image.tar.gz"}, "runtime.image"),
        ({"image": "other.tar.gz"}, "allowed is the name of an input"),
        ({"sha256": "short"}, "runtime.sha256"),
    ],
)
def test_a_wrong_description_is_told(node: Node, image: bytes, change: Json, words: str) -> None:
    job = contained(node, image, shell("true"))
    node.runtime |= change
    outcome = node.run(job)
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert words in outcome.report["message"]


def test_a_cache_of_somebody_else_is_not_used(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    (node.root / "images").symlink_to(node.root)
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "not this user's own directory" in outcome.report["message"]


def test_a_node_that_cannot_start_images_says_so(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    node.runtime["engine"] = "runc"
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this node cannot start images: runc is not there" in outcome.report["message"]
