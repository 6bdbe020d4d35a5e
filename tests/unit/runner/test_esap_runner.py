"""The runner with real payloads, real limits and real signals; each exit code is one test at least."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from runner import esap_runner

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
        self.cuts: list[int] = []  # how many bytes of an answer to send before hanging up
        self.knows_ranges = True
        self.starts: list[int] = []
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
            self.answer(404) if found is None else self.send_file(found)

    def send_file(self, content: bytes) -> None:
        asked = self.headers.get("Range", "") if self.server.knows_ranges else ""
        start = int(asked[len("bytes=") : -1]) if asked else 0
        self.server.starts.append(start)
        if start >= len(content) > 0:
            return self.answer(416)
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + cut])
        self.close_connection = True
        return None

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


def test_http_download_goes_on_where_it_was_cut_off(node: Node, store: Store) -> None:
    given = http_input(store, os.urandom(300_000))
    store.cuts = [100_000, 150_000]
    outcome = node.run(node.job(sh("true"), inputs=[given]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert store.starts == [0, 100_000, 250_000]


def test_http_download_from_a_server_without_ranges_begins_anew(node: Node, store: Store) -> None:
    given = http_input(store, os.urandom(300_000))
    store.cuts, store.knows_ranges = [100_000], False
    outcome = node.run(node.job(sh("true"), inputs=[given]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert store.starts == [0, 0]


def test_http_download_of_a_file_that_has_changed_meanwhile_begins_anew(node: Node, store: Store) -> None:
    given = http_input(store, b"x" * 300_000)
    store.files["/in.bin"] = b"y" * 300_000
    store.cuts = [100_000]
    process = node.start(node.job(sh("true"), inputs=[given]))
    wait_until(lambda: len(store.starts) == 1, "the first try")
    store.files["/in.bin"] = b"x" * 300_000
    assert node.finish(process).report["reason"] == "OK"
    assert store.starts == [0, 100_000, 0]


# --- what the site gives --------------------------------------------------------------------------


def test_transfers_keep_the_pace() -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = esap_runner.Pace(2e6, clock=lambda: now[0], sleep=sleep)
    for _ in range(10):
        pace.take(1_000_000)
    assert sum(slept) == pytest.approx(5.0)
    now[0] += 60
    pace.take(1_000_000)
    assert slept[-1] == pytest.approx(0.5)  # what was not used is not saved up
    assert pace.block == 500_000


@pytest.mark.parametrize("transfer", [{"max_mb_per_s": 0}, {"max_mb_per_s": "fast"}, 5])
def test_a_wrong_pace_is_told(node: Node, transfer: Any) -> None:
    outcome = node.run(None, document=node.document(node.job(sh("true"))) | {"transfer": transfer})
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert "transfer" in outcome.report["message"]


def test_files_are_moved_under_a_limit_too(node: Node) -> None:
    given = node.give("in.bin", b"a" * 100_000)
    job = node.job(sh("cp in.bin out.bin"), inputs=[given], outputs=[node.output("out.bin")])
    outcome = node.run(None, document=node.document(job) | {"transfer": {"max_mb_per_s": 50}})
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert node.stored("out.bin").read_bytes() == b"a" * 100_000


def test_the_payload_is_told_its_cores(node: Node) -> None:
    node.environment["SLURM_CPUS_PER_TASK"] = "3"
    job = node.job(sh("echo $ESAP_CORES >out.txt"), outputs=[node.output("out.txt")], limits={"cores": 2})
    outcome = node.run(job)
    assert node.stored("out.txt").read_text() == "3\n"
    assert outcome.report["cores"] == 3
    assert outcome.report["limits"]["cores"] == 2


@pytest.mark.parametrize("cores", [0, 1.5, True, "2"])
def test_cores_are_a_whole_number(node: Node, cores: Any) -> None:
    outcome = node.run(node.job(sh("true"), limits={"cores": cores}))
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert "limits.cores" in outcome.report["message"]


MODULES = """
module() {
    [ "$2" = prog/1.0 ] || { echo "ERROR: Unable to locate a modulefile for '$2'" >&2; return 1; }
    export PROG_HOME="/opt/prog with blanks"
}
"""


def test_modules_are_loaded_as_the_site_has_them(node: Node) -> None:
    (node.root / ".bash_profile").write_text(MODULES)
    node.runtime["modules"] = ["prog/1.0"]
    node.software = []
    job = node.job(sh("echo $PROG_HOME >out.txt"), outputs=[node.output("out.txt")])
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert node.stored("out.txt").read_text() == "/opt/prog with blanks\n"


def test_a_module_that_the_site_lacks(node: Node) -> None:
    (node.root / ".bash_profile").write_text(MODULES)
    node.runtime["modules"] = ["other/2.0"]
    outcome = node.run(node.job(sh("true")))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "module load other/2.0 does not work here: ERROR: Unable to locate" in outcome.report["message"]


# --- a disk that is really full -------------------------------------------------------------------

SMALL_DISK = """
mount -t tmpfs -o size=2m small "$1" && cp batch.json "$1" && cd "$1" || exit 99
shift
"$@"
code=$?
cp job-report.json ..
exit $code
"""


def may_mount() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "small", "/tmp"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here: no user namespaces")
@pytest.mark.parametrize(
    "job",
    [
        {"command": ["sh", "-c", "cat /dev/zero >fill || exit 1"]},
        {"command": ["true"], "inputs": 4_000_000},
        {"command": ["sh", "-c", "cat /dev/zero >fill"], "outputs": 1},
    ],
)
def test_a_full_disk_leaves_room_for_the_report(node: Node, job: Json) -> None:
    if "inputs" in job:
        job = job | {"inputs": [node.give("in.bin", b"a" * job["inputs"])]}
    if "outputs" in job:
        job = job | {"outputs": [node.output("out.txt", ["sh", "-c", "cat fill; echo x"])]}
    (node.directory / "disk").mkdir(parents=True)
    (node.directory / "batch.json").write_text(json.dumps(node.document(node.job(**job))))
    started = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh", "disk"),
            *(sys.executable, str(RUNNER), "--index", "3"),
        ],
        cwd=node.directory,
        env=node.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads((node.directory / "job-report.json").read_text())
    assert report["exit_code"] == started.returncode
    assert report["reason"] == "DISK_LIMIT", started.stdout
    assert "the worker node's disk is full" in report["message"]
