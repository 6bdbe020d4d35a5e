"""The runner with real payloads, real limits and real signals; each exit code is one test at least."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from .conftest import GROUP, PROJECT, RUNNER, Json, Node, adler32, is_alive, wait_until

HOG = "x = [bytearray(b'x') * 2**24 for _ in range({mb} // 16)]; import time; time.sleep(300)"


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_is_a_program_that_python_3_6_can_read() -> None:
    assert os.access(RUNNER, os.X_OK)
    source = RUNNER.read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    roots = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    roots |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {root.split(".")[0] for root in roots} <= sys.stdlib_module_names
    assert "capture_output" not in source  # 3.7
    assert "missing_ok" not in source  # 3.8


def test_exit_codes_are_documented_as_they_are() -> None:
    documented = {}
    for line in (PROJECT / "docs" / "runner.md").read_text().splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].isdigit():
            documented[cells[1]] = int(cells[0])
    tree = ast.parse(RUNNER.read_text())
    table = next(
        ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "EXIT_CODES"
    )
    assert documented == table


# --- success --------------------------------------------------------------------------------------


def test_ok_uploads_and_reports(node: Node) -> None:
    given = node.give("events.bin", b"abc" * 1000)
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert (outcome.code, outcome.report["reason"]) == (0, "OK")
    report = outcome.report
    content = node.stored("hello.json").read_bytes()
    assert report["outputs"] == [
        {
            "name": "hello.json",
            "lfn": "/ctao/esap/hello.json",
            "pfn": f"file://{node.stored('hello.json')}",
            "size": len(content),
            "adler32": adler32(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]
    assert (report["group"], report["index"], report["attempt"]) == (GROUP, 3, 1)
    assert report["site"] == "ESAP.Test.local"
    assert report["software"] == node.software
    assert report["inputs"] == [{k: given[k] for k in ("name", "lfn", "size", "adler32")}]
    assert [(v["output"], v["verdict"], v["exit_code"]) for v in report["validation"]] == [
        ("hello.json", "valid", 0)
    ]
    assert report["validation"][0]["report"]["checks"]
    assert set(report["timings_s"]) == {"fetch", "payload", "validate", "upload"}
    assert report["peak_memory_mb"] > 1
    assert report["limits"] == {"wall_time_s": 60, "memory_mb": 400, "disk_mb": 200}
    assert datetime.fromisoformat(report["started"]) <= datetime.fromisoformat(report["finished"])
    assert (node.directory / "events.bin").read_bytes() == b"abc" * 1000


def test_an_invalid_output_is_uploaded_with_its_verdict(node: Node) -> None:
    outcome = node.run(node.noop("corrupt_output"))
    assert outcome.code == 0
    assert outcome.report["validation"][0]["verdict"] == "invalid"
    assert node.stored("hello.json").exists()


def test_fail_once_succeeds_at_the_second_attempt(node: Node) -> None:
    job = node.noop("fail_once")
    assert node.run(job, attempt=1).report["reason"] == "PAYLOAD_FAILED"
    outcome = node.run(job, attempt=2)
    assert (outcome.report["reason"], outcome.report["attempt"]) == ("OK", 2)


def test_payload_sees_files_and_environment(node: Node) -> None:
    script = 'cat a.txt; printf "%s " "$ESAP_GROUP" "$ESAP_INDEX" "$ESAP_ATTEMPT" "$MINE"'
    files = {"a.txt": "text as it is\n", "b.json": {"k": [1, "ä"]}}
    job = node.job(sh(script), files=files, environment={"MINE": "two words"})
    report = node.run(job, attempt=4).report
    assert report["payload_log_tail"] == f"text as it is\n{GROUP} 3 4 two words "
    assert json.loads((node.directory / "b.json").read_text()) == {"k": [1, "ä"]}


def test_log_tail_is_the_end_of_both_streams(node: Node) -> None:
    outcome = node.run(node.job(sh("seq 1 5000; echo last >&2")))
    tail = outcome.report["payload_log_tail"].splitlines()
    assert tail == [*(str(n) for n in range(4982, 5001)), "last"]
    assert "\n5000\nlast\n" in outcome.stdout
    assert (node.directory / "payload.log").read_text().startswith("1\n2\n")


def test_background_processes_do_not_outlive_the_job(node: Node) -> None:
    node.run(node.job(sh("setsid sleep 300 & echo $! > pid")))
    assert not is_alive(node.pid_of())


# --- 10: bad description --------------------------------------------------------------------------


def broken(**changes: Any) -> Json:
    return changes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (broken(command="esap-noop run"), "jobs[1].command"),
        (broken(command=[]), "jobs[1].command"),
        (broken(limits={"wall_time_s": 0}), "jobs[1].limits.wall_time_s = 0"),
        (broken(limits={"memory_mb": "2 GB"}), 'jobs[1].limits.memory_mb = "2 GB"'),
        (broken(files={"../x": "y"}), '"../x"'),
        (broken(files={"job-report.json": "y"}), '"job-report.json"'),
        (broken(files={"config.json": 1, "hello.json": 2}), "hello.json is the name of two files"),
        (broken(environment={"A": 1}), "jobs[1].environment"),
        (broken(inputs=[{"name": "a", "size": 1, "adler32": "0", "pfn": "file:///a"}]), "inputs[0].adler32"),
        (broken(inputs=[{"name": "a", "size": -1, "adler32": "0" * 8, "pfn": "/a"}]), "inputs[0].pfn"),
        (broken(outputs=[{"name": "a/b", "validator": [], "pfn": "file:///a"}]), "outputs[0].name"),
        (broken(outputs=[{"name": "a", "validator": "v", "pfn": "root://h/a"}]), "outputs[0].pfn"),
        (broken(outputs=[{"name": "a", "validator": [], "pfn": ""}]), "outputs[0].pfn"),
    ],
)
def test_bad_job_is_refused_and_named(node: Node, change: Json, named: str) -> None:
    job = node.noop("ok")
    change = {**change, "limits": job["limits"] | change.get("limits", {})}
    outcome = node.run(job | change)
    assert (outcome.code, outcome.report["reason"]) == (10, "BAD_DESCRIPTION")
    assert named in outcome.report["message"]
    assert not node.storage.exists()


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("{", "cannot be read as JSON"),
        ([], "allowed is an object"),
        ({"schema": 2}, "schema = 2"),
        ({"schema": 1, "group": "g", "runtime": {}, "software": [], "jobs": []}, "runtime = {}"),
        (
            {"schema": 1, "group": "g", "runtime": {"type": "plain"}, "software": [], "jobs": []},
            "no job has index 3",
        ),
    ],
)
def test_bad_batch_is_refused(node: Node, document: Any, named: str) -> None:
    outcome = node.run(None, document=document)
    assert outcome.code == 10
    assert named in outcome.report["message"]


@pytest.mark.parametrize("arguments", [[], ["--index", "three"], ["--index", "3", "--what"]])
def test_bad_command_line_leaves_a_report(node: Node, arguments: list[str]) -> None:
    outcome = node.finish(node.start_with(arguments))
    assert outcome.code == 10
    assert "command line" in outcome.report["message"]


def test_batch_that_is_not_there(node: Node) -> None:
    outcome = node.finish(node.start_with(["--index", "3"]))
    assert outcome.code == 10
    assert "batch.json" in outcome.report["message"]


# --- 11: software ---------------------------------------------------------------------------------


def test_site_without_software_area(node: Node) -> None:
    del node.environment["VO_CTAO_SW_DIR"]
    outcome = node.run(node.noop("ok"))
    assert (outcome.code, outcome.report["reason"]) == (11, "SOFTWARE_MISSING")
    assert "VO_CTAO_SW_DIR" in outcome.report["message"]


def test_software_version_that_the_site_lacks(node: Node) -> None:
    node.software = [{"name": "esap-noop", "version": "9.9.9"}]
    outcome = node.run(node.noop("ok"))
    assert outcome.code == 11
    assert "esap-noop 9.9.9" in outcome.report["message"]


def test_runtime_that_the_runner_lacks(node: Node) -> None:
    node.runtime = {"type": "teleport"}
    outcome = node.run(node.noop("ok"))
    assert outcome.code == 11
    assert '"teleport"' in outcome.report["message"]


def test_program_that_is_not_on_the_path(node: Node) -> None:
    outcome = node.run(node.job(["no-such-program"]))
    assert outcome.code == 11
    assert "no-such-program" in outcome.report["message"]


def test_missing_validator_is_seen_before_the_payload_runs(node: Node) -> None:
    job = node.job(sh("touch ran a"), outputs=[node.output("a", ["no-such-validator"])])
    assert node.run(job).code == 11
    assert not (node.directory / "ran").exists()


# --- 20, 21: inputs -------------------------------------------------------------------------------


def test_input_that_is_not_there(node: Node) -> None:
    given = node.give("events.bin", b"abc")
    (node.storage / "events.bin").unlink()
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert (outcome.code, outcome.report["reason"]) == (20, "INPUT_MISSING")
    assert "events.bin" in outcome.report["message"]


@pytest.mark.parametrize("content", [b"abd", b"abcd", b""])
def test_input_that_differs(node: Node, content: bytes) -> None:
    given = node.give("events.bin", b"abc")
    (node.storage / "events.bin").write_bytes(content)
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert (outcome.code, outcome.report["reason"]) == (21, "INPUT_CORRUPT")
    assert adler32(content) in outcome.report["message"]
    assert outcome.report["inputs"] == []
    assert not (node.directory / "payload.log").exists()


# --- 30, 31: payload ------------------------------------------------------------------------------


def test_payload_that_fails(node: Node) -> None:
    outcome = node.run(node.noop("always_fail"))
    assert (outcome.code, outcome.report["reason"]) == (30, "PAYLOAD_FAILED")
    assert outcome.report["payload_exit_code"] == 1
    assert "always fails, as asked" in outcome.report["payload_log_tail"]
    assert not node.storage.exists()


def test_payload_killed_by_someone_else(node: Node) -> None:
    outcome = node.run(node.job(sh("kill -SEGV $$")))
    assert (outcome.code, outcome.report["reason"]) == (31, "PAYLOAD_SIGNAL")
    assert outcome.report["payload_exit_code"] == -signal.SIGSEGV
    assert "SIGSEGV" in outcome.report["message"]


# --- 32, 33, 34: limits ---------------------------------------------------------------------------


def test_memory_limit(node: Node) -> None:
    outcome = node.run(node.noop("too_much_memory", config={"memory_mb": 400}, limits={"memory_mb": 150}))
    assert (outcome.code, outcome.report["reason"]) == (32, "MEMORY_LIMIT")
    assert outcome.report["peak_memory_mb"] > 150
    assert "the job may take 150 MB" in outcome.report["message"]


def test_memory_of_all_processes_counts(node: Node) -> None:
    hogs = " ".join(
        f'setsid {sys.executable} -c "{HOG.format(mb=128)}" & echo $! > pid{n};' for n in range(2)
    )
    outcome = node.run(node.job(sh(hogs + " wait"), limits={"memory_mb": 220}))
    assert outcome.code == 32
    assert not any(is_alive(node.pid_of(f"pid{n}")) for n in range(2))


def test_time_limit(node: Node) -> None:
    outcome = node.run(node.noop("too_long", limits={"wall_time_s": 1}))
    assert (outcome.code, outcome.report["reason"]) == (33, "TIME_LIMIT")
    assert "1 s" in outcome.report["message"]


def test_time_limit_of_a_payload_that_ignores_sigterm(node: Node) -> None:
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    outcome = node.run(node.job(sh(script), limits={"wall_time_s": 1}))
    assert outcome.code == 33
    assert not is_alive(node.pid_of())


def test_disk_limit_while_the_payload_runs(node: Node) -> None:
    script = "dd if=/dev/zero of=big bs=1M count=30 2>/dev/null; sleep 300"
    outcome = node.run(node.job(sh(script), limits={"disk_mb": 20}))
    assert (outcome.code, outcome.report["reason"]) == (34, "DISK_LIMIT")


def test_disk_limit_when_the_payload_has_ended(node: Node) -> None:
    outcome = node.run(node.job(sh("dd if=/dev/zero of=big bs=1M count=30"), limits={"disk_mb": 20}))
    assert outcome.code == 34


def test_inputs_that_cannot_fit_are_not_fetched(node: Node) -> None:
    given = node.give("events.bin", b"abc") | {"size": 30 * 2**20}
    outcome = node.run(node.noop("ok", inputs=[given], limits={"disk_mb": 20}))
    assert outcome.code == 34
    assert not (node.directory / "events.bin").exists()


# --- 40, 41: outputs and validators ---------------------------------------------------------------


def test_missing_output_keeps_back_the_others(node: Node) -> None:
    outcome = node.run(node.noop("partial_output", outputs=("a.json", "b.json")))
    assert (outcome.code, outcome.report["reason"]) == (40, "OUTPUT_MISSING")
    assert "b.json" in outcome.report["message"]
    assert outcome.report["outputs"] == []
    assert not node.storage.exists()


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("echo no json", "printed no JSON"),
        ("kill -9 $$", "printed no JSON"),
        ("echo '[]'", "verdict null"),
        ('echo \'{"verdict": "valid"}\'; exit 1', 'verdict "valid"'),
        ('echo \'{"verdict": "fine"}\'', 'verdict "fine"'),
        ("sleep 300", "was stopped"),
    ],
)
def test_validator_that_does_not_do_its_work(node: Node, script: str, named: str) -> None:
    job = node.job(sh("echo x > a"), outputs=[node.output("a", sh(script))], limits={"wall_time_s": 1})
    outcome = node.run(job)
    assert (outcome.code, outcome.report["reason"]) == (41, "VALIDATOR_FAILED")
    assert named in outcome.report["message"]
    assert not node.storage.exists()


def test_unreadable_is_a_verdict(node: Node) -> None:
    job = node.job(sh("echo x > a"), outputs=[node.output("a", ["esap-noop", "validate", "a"])])
    outcome = node.run(job)
    assert outcome.code == 0
    assert outcome.report["validation"][0]["verdict"] == "unreadable"


# --- 50: upload -----------------------------------------------------------------------------------


def test_upload_that_cannot_work(node: Node) -> None:
    node.storage.write_text("a file where a directory is needed")
    outcome = node.run(node.noop("ok"))
    assert (outcome.code, outcome.report["reason"]) == (50, "UPLOAD_FAILED")
    assert str(node.storage) in outcome.report["message"]
    assert outcome.report["validation"][0]["verdict"] == "valid"


def test_equal_file_is_adopted(node: Node) -> None:
    node.run(node.noop("ok"))
    before = node.stored("hello.json").stat()
    outcome = node.run(node.noop("ok"), attempt=2)
    assert outcome.code == 0
    assert node.stored("hello.json").stat().st_ino == before.st_ino
    assert outcome.report["outputs"][0]["size"] == before.st_size
    assert "adopted" in outcome.stdout


def test_other_file_is_replaced(node: Node) -> None:
    node.give("ctao/esap/hello.json", b"other")
    outcome = node.run(node.noop("ok"))
    assert outcome.code == 0
    assert adler32(node.stored("hello.json").read_bytes()) == outcome.report["outputs"][0]["adler32"]


def test_runner_killed_during_upload_leaves_no_half_file(node: Node) -> None:
    script = "dd if=/dev/zero of=big bs=1M count=400 2>/dev/null"
    job = node.job(sh(script), outputs=[node.output("big")], limits={"disk_mb": 2000})
    folder = node.stored("big").parent
    process = node.start(job)
    wait_until(lambda: folder.exists() and list(folder.glob(".big~*.part")), "the upload has begun")
    process.kill()
    process.wait()
    assert not node.stored("big").exists()
    assert list(folder.glob(".big~*.part"))
    assert node.run(job, attempt=2).code == 0
    assert [p.name for p in folder.iterdir()] == ["big"]
    assert node.stored("big").stat().st_size == 400 * 2**20


# --- 60: signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_payload_and_leaves_a_report(node: Node, number: signal.Signals) -> None:
    process = node.start(node.job(sh("echo $$ > pid; echo working; exec sleep 300")))
    pid = node.pid_of()
    process.send_signal(number)
    outcome = node.finish(process)
    assert (outcome.code, outcome.report["reason"]) == (60, "TERMINATED")
    assert number.name in outcome.report["message"]
    assert outcome.report["payload_log_tail"] == "working"
    assert not is_alive(pid)


def test_sigterm_while_a_validator_runs(node: Node) -> None:
    validator = sh("echo $$ > pid; sleep 300")
    process = node.start(node.job(sh("touch a"), outputs=[node.output("a", validator)]))
    pid = node.pid_of()
    process.terminate()
    assert node.finish(process).code == 60
    assert not is_alive(pid)
    assert not node.storage.exists()


def test_killed_runner_takes_its_payload_with_it(node: Node) -> None:
    process = node.start(node.job([sys.executable, "-c", HOG.format(mb=16)]))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pid = int(wait_until(lambda: children.read_text().split(), "the payload has started")[0])
    log = node.directory / "payload.log"
    wait_until(
        lambda: log.exists() and b"python" in Path(f"/proc/{pid}/cmdline").read_bytes(), "it is the payload"
    )
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(pid), "the payload has ended")


# --- 70: internal ---------------------------------------------------------------------------------


def test_a_fault_of_the_runner_itself_leaves_a_report(node: Node) -> None:
    (node.directory / "config.json").mkdir(parents=True)
    outcome = node.run(node.noop("ok"))
    assert (outcome.code, outcome.report["reason"]) == (70, "INTERNAL")
    assert "IsADirectoryError" in outcome.report["message"]


# --- http -----------------------------------------------------------------------------------------


class Store(ThreadingHTTPServer):
    """A storage element behind HTTP that can be told to fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StoreHandler)
        self.files: dict[str, bytes] = {}
        self.failures = 0
        self.refuses_puts = False
        self.puts = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class StoreHandler(BaseHTTPRequestHandler):
    server: Store

    def answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fails(self) -> bool:
        if self.server.failures > 0:
            self.server.failures -= 1
            self.answer(503)
            return True
        return False

    def do_GET(self) -> None:
        if not self.fails():
            found = self.server.files.get(self.path)
            self.answer(404) if found is None else self.answer(200, found)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts += 1
        if self.server.refuses_puts:
            self.answer(403)
        elif not self.fails():
            self.server.files[self.path] = body
            self.answer(201)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Keep the test's output short."""


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def http_input(store: Store, content: bytes) -> Json:
    store.files["/in.bin"] = content
    return {
        "name": "in.bin",
        "lfn": "/ctao/esap/in.bin",
        "size": len(content),
        "adler32": adler32(content),
        "pfn": store.url("/in.bin"),
    }


def test_http_in_and_out_over_short_failures(node: Node, store: Store) -> None:
    given = http_input(store, b"abc" * 100_000)
    store.failures = 2
    output = node.output("out.bin") | {"pfn": store.url("/out.bin")}
    outcome = node.run(node.job(sh("cp in.bin out.bin"), inputs=[given], outputs=[output]))
    assert outcome.code == 0, outcome.report["message"]
    assert store.files["/out.bin"] == b"abc" * 100_000
    assert outcome.stdout.count("next try") == 2


def test_http_equal_file_is_adopted(node: Node, store: Store) -> None:
    store.files["/out.bin"] = b"x\n"
    output = node.output("out.bin") | {"pfn": store.url("/out.bin")}
    assert node.run(node.job(sh("echo x > out.bin"), outputs=[output])).code == 0
    assert store.puts == 0


def test_http_input_that_is_gone(node: Node, store: Store) -> None:
    given = http_input(store, b"abc")
    store.files.clear()
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert outcome.code == 20
    assert "404" in outcome.report["message"]
    assert "next try" not in outcome.stdout


def test_http_input_that_stays_corrupt(node: Node, store: Store) -> None:
    given = http_input(store, b"abc")
    store.files["/in.bin"] = b"abd"
    assert node.run(node.noop("ok", inputs=[given])).code == 21


def test_http_server_that_is_down_or_refuses(node: Node, store: Store) -> None:
    output = node.output("out.bin") | {"pfn": store.url("/out.bin")}
    store.refuses_puts = True
    outcome = node.run(node.job(sh("echo x > out.bin"), outputs=[output]))
    assert outcome.code == 50
    assert "403" in outcome.report["message"]
    output["pfn"] = "http://127.0.0.1:9/out.bin"
    assert node.run(node.job(sh("echo x > out.bin"), outputs=[output])).code == 50
