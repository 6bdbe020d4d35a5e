"""STAND-IN for FTS and for the tape robot behind it: what Rucio's unmodified `fts3` transfer tool talks to.

It really copies files, from `file:` to `file:` URLs: checks the source's checksum, copies to a temporary
name, checks the copy, renames it. If a job asks for `bring_online`, which Rucio does for sources on tape,
the file is recalled first: it waits for one of a few drives, and then for the recall delay. Jobs survive a
restart. The tokens, proxies and protocols of the real FTS are not there.

Faults and delays for tests:
    PUT /_control {"fail": {"<part of a source URL>": "<reason>"}, "hold": true, "stage_delay": 5}
    GET /_control, GET /_jobs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import threading
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

CHUNK = 1 << 20
FINAL = {"FINISHED", "FAILED", "CANCELED"}


class TransferError(Exception):
    """Why a transfer failed, in FTS's words."""


def now() -> str:
    """The time in UTC as FTS writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def checksum(path: Path, kind: str) -> str:
    """The checksum of a file as hex digits; `kind` is adler32 or md5."""
    adler, md5 = 1, hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            if kind == "adler32":
                adler = zlib.adler32(block, adler)
            else:
                md5.update(block)
    return f"{adler:08x}" if kind == "adler32" else md5.hexdigest()


def to_path(url: str) -> Path:
    """The path of a `file:` URL.

    Raises:
        TransferError: another scheme.

    """
    parsed = urlparse(url)
    if parsed.scheme != "file":
        raise TransferError(f"Protocol not supported or path/url invalid: {parsed.scheme}")
    return Path(os.path.normpath(unquote(parsed.path)))


class Transfers:
    """The jobs, and the threads that work on them."""

    def __init__(self, state: Path, stage_delay: float, drives: int, copiers: int) -> None:
        self.state = state
        self.changed = threading.Condition()
        self.control: dict[str, Any] = {"fail": {}, "hold": False, "stage_delay": stage_delay}
        self.drives, self.copiers = ThreadPoolExecutor(drives), ThreadPoolExecutor(copiers)
        state.mkdir(parents=True, exist_ok=True)
        self.jobs: dict[str, dict[str, Any]] = {}
        for path in sorted(state.glob("*.json"), key=lambda p: p.stat().st_mtime):
            self.jobs[path.stem] = json.loads(path.read_text())
        for job in self.jobs.values():
            self.start(job)

    def submit(self, request: dict[str, Any]) -> str:
        """Take a job as FTS's `POST /jobs` describes it; return its id."""
        params, identifier = request["params"], str(uuid.uuid4())
        recall = params.get("bring_online") or 0
        job = {
            "job_id": identifier,
            "bring_online": recall,
            "verify": params.get("verify_checksum", "none"),
            "overwrite": bool(params.get("overwrite")),
            "priority": params.get("priority", 3),
            "metadata": params.get("job_metadata") or {},
            "submit_time": now(),
            "files": [_new_file(file, recall) for file in request["files"]],
        }
        self.jobs[identifier] = job
        self.save(job)
        self.start(job)
        return identifier

    def start(self, job: dict[str, Any]) -> None:
        pool = self.drives if job["bring_online"] else self.copiers
        for file in job["files"]:
            if file["file_state"] not in FINAL:
                pool.submit(self.run, job, file)

    def save(self, job: dict[str, Any]) -> None:
        path = self.state / f"{job['job_id']}.json"
        with self.changed:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(job))
            temporary.replace(path)

    def cancel(self, job: dict[str, Any]) -> None:
        with self.changed:
            for file in job["files"]:
                if file["file_state"] not in FINAL:
                    file |= {
                        "file_state": "CANCELED",
                        "reason": "Job canceled by the user",
                        "finish_time": now(),
                    }
            self.changed.notify_all()
        self.save(job)

    def set_control(self, values: dict[str, Any]) -> None:
        with self.changed:
            self.control.update(values)
            self.changed.notify_all()

    def run(self, job: dict[str, Any], file: dict[str, Any]) -> None:
        """Bring one file to its end."""
        try:
            if job["bring_online"] and not self.recall(file):
                return
            if file["file_state"] == "CANCELED":
                return
            file |= {"file_state": "ACTIVE", "start_time": now()}
            self.transfer(job, file)
            file |= {"file_state": "FINISHED", "finish_time": now()}
        except (TransferError, OSError) as error:
            file |= {"file_state": "FAILED", "reason": str(error), "finish_time": now()}
        finally:
            self.save(job)

    def recall(self, file: dict[str, Any]) -> bool:
        """Wait as a tape drive makes one wait; False when the job was cancelled in the meantime."""
        with self.changed:
            if file["file_state"] == "CANCELED":
                return False
            file |= {"file_state": "STARTED", "staging_start": now()}
            self.changed.wait_for(lambda: file["file_state"] == "CANCELED", self.control["stage_delay"])
            self.changed.wait_for(lambda: file["file_state"] == "CANCELED" or not self.control["hold"])
            file["staging_finished"] = now()
            return bool(file["file_state"] != "CANCELED")

    def transfer(self, job: dict[str, Any], file: dict[str, Any]) -> None:
        """Copy and verify.

        Raises:
            TransferError: a fault, declared or real.

        """
        source_url, target_url = file["source_surl"], file["dest_surl"]
        for part, reason in self.control["fail"].items():
            if part in source_url:
                raise TransferError(reason)
        source, target = to_path(source_url), to_path(target_url)
        if not source.exists():
            raise TransferError("SOURCE [2] No such file or directory")
        if source_url == target_url:  # Rucio asks for a recall only
            return
        kind, _, wanted = (file["checksum"] or "").lower().partition(":")
        if wanted and job["verify"] in ("both", "source") and checksum(source, kind) != wanted:
            raise TransferError(f"SOURCE CHECKSUM MISMATCH User-defined and source {kind} do not match")
        if target.exists() and not job["overwrite"]:
            raise TransferError(
                "DESTINATION OVERWRITE [17] Destination file exists and overwrite is not enabled"
            )
        verify = wanted if job["verify"] in ("both", "target") else ""
        _copy(source, target, kind, verify)


def _copy(source: Path, target: Path, kind: str, wanted: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.part.{uuid.uuid4().hex[:8]}")
    shutil.copyfile(source, temporary)
    if wanted and checksum(temporary, kind) != wanted:
        temporary.unlink()
        raise TransferError(f"DESTINATION CHECKSUM MISMATCH User-defined and destination {kind} do not match")
    temporary.replace(target)


def _new_file(file: dict[str, Any], recall: int) -> dict[str, Any]:
    # Rucio's poller reads every one of these keys.
    return {
        "file_state": "STAGING" if recall else "SUBMITTED",
        "source_surl": file["sources"][0],
        "dest_surl": file["destinations"][0],
        "checksum": file.get("checksum"),
        "file_metadata": file.get("metadata"),
        "reason": None,
        "start_time": None,
        "finish_time": None,
        "staging_start": None,
        "staging_finished": None,
    }


def job_state(job: dict[str, Any]) -> str:
    """FTS's state of a whole job."""
    states = {file["file_state"] for file in job["files"]}
    if states <= FINAL:
        return states.pop() if len(states) == 1 else "FINISHEDDIRTY"
    if states & {"STAGING", "STARTED"}:
        return "STAGING"
    return "ACTIVE" if "ACTIVE" in states else "SUBMITTED"


class Handler(BaseHTTPRequestHandler):
    """FTS's REST routes, as far as Rucio uses them, and `/_control` and `/_jobs`."""

    protocol_version = "HTTP/1.1"
    transfers: Transfers

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nothing: Rucio polls several times a second."""

    def reply(self, code: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def parts(self) -> list[str]:
        return urlparse(self.path).path.strip("/").split("/")

    def view(self, identifier: str) -> dict[str, Any]:
        job = self.transfers.jobs.get(identifier)
        if job is None:
            message = f"No job with the id {identifier}"
            return {"job_id": identifier, "http_status": "404 Not Found", "http_message": message}
        return {
            **{key: job[key] for key in ("job_id", "priority", "submit_time", "bring_online")},
            "http_status": "200 Ok",
            "job_state": job_state(job),
            "job_type": "N",
            "job_metadata": job["metadata"],
            "files": [{k: v for k, v in file.items() if k != "checksum"} for file in job["files"]],
        }

    def do_GET(self) -> None:
        match self.parts():
            case [""]:
                self.reply(200, {"api": {"major": 3, "minor": 12, "patch": 0}, "core": {"major": 3}})
            case ["whoami"]:
                self.reply(
                    200, {"base_id": str(uuid.UUID(int=0)), "vos": ["ctao"], "user_dn": "/CN=localgrid"}
                )
            case ["_control"]:
                self.reply(200, self.transfers.control)
            case ["_jobs"]:
                self.reply(200, [self.view(job) for job in list(self.transfers.jobs)])
            case ["jobs", identifiers]:
                ids = identifiers.split(",")
                known = len(ids) == 1 and ids[0] in self.transfers.jobs
                self.reply(200 if known else 207, [self.view(identifier) for identifier in ids])
            case _:
                self.reply(404, {"message": "not found"})

    def do_POST(self) -> None:
        body = self.body()
        match self.parts():
            case ["jobs"]:
                self.reply(200, {"job_id": self.transfers.submit(body)})
            case ["jobs", identifier] if job := self.transfers.jobs.get(identifier):
                job["priority"] = body.get("params", {}).get("priority", job["priority"])
                self.reply(200, self.view(identifier))
            case _:
                self.reply(404, {"message": "not found"})

    def do_PUT(self) -> None:
        body = self.body()
        if self.parts() != ["_control"]:
            self.reply(404, {"message": "not found"})
        elif unknown := set(body) - set(self.transfers.control):
            allowed = sorted(self.transfers.control)
            self.reply(400, {"message": f"unknown control {sorted(unknown)}, allowed: {allowed}"})
        else:
            self.transfers.set_control(body)
            self.reply(200, self.transfers.control)

    def do_DELETE(self) -> None:
        match self.parts():
            case ["jobs", identifier] if job := self.transfers.jobs.get(identifier):
                self.transfers.cancel(job)
                self.reply(200, self.view(identifier))
            case _:
                self.reply(404, {"message": "not found"})


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="Stand-in of FTS and of a tape robot")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="directory that keeps the jobs")
    parser.add_argument("--stage-delay", type=float, default=1.0, help="seconds that a recall takes")
    parser.add_argument("--drives", type=int, default=2, help="recalls at the same time")
    parser.add_argument("--copiers", type=int, default=4, help="copies at the same time")
    options = parser.parse_args()
    Handler.transfers = Transfers(options.state, options.stage_delay, options.drives, options.copiers)
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
