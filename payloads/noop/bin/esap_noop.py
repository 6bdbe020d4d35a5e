"""Payload that does nothing, in every way a payload can: `esap-noop run | validate`.

Standard library only, Python >= 3.6, as worker nodes have it. Its output is one JSON object whose member
`sha256` is that of the others in canonical form, so that `validate` sees any change.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

Json = Dict[str, Any]
VERSION = "0.1.0"
FORMAT = "esap-hello"
CHUNK_MB = 16
HOLD_S = 600  # how long a payload over its memory limit waits to be stopped
REFUSED, FAILED = 3, 1
VALID, INVALID, UNREADABLE = 0, 1, 2
VERDICTS = {VALID: "valid", INVALID: "invalid", UNREADABLE: "unreadable"}
MEMBERS = {"format", "group", "index", "message", "name", "sha256", "version"}


class RefusedError(Exception):
    """The configuration asks for something that is not there."""


class FailedError(Exception):
    """The payload fails as it was asked to."""


def digest(document: Json) -> str:
    """Give the SHA-256 of a document without its member `sha256`."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8")).hexdigest()


def write_output(name: str, config: Json, spoil: bool = False) -> None:
    """Write one output; a spoilt one has a message that its checksum does not know."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "message": config["message"],
        "index": config["index"],
        "group": os.environ.get("ESAP_GROUP", ""),
    }
    document["sha256"] = digest(document)
    if spoil:
        document["message"] += " (corrupt)"
    Path(name).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {name}")


def write_all(config: Json, spoil: bool = False) -> None:
    """Write every output of the configuration."""
    for name in config["outputs"]:
        write_output(name, config, spoil)


def run_ok(config: Json) -> None:
    """Succeed at once."""
    write_all(config)


def run_slow(config: Json) -> None:
    """Succeed after a while."""
    time.sleep(config["duration_s"])
    write_all(config)


def run_fail_once(config: Json) -> None:
    """Fail at the first attempt only, or at the first few."""
    attempt = int(os.environ.get("ESAP_ATTEMPT", "1"))
    if attempt <= config["failing_attempts"]:
        raise FailedError(f"fails at attempt {attempt}, as asked")
    write_all(config)


def run_always_fail(config: Json) -> None:
    """Fail at every attempt."""
    raise FailedError("always fails, as asked")


def run_corrupt_output(config: Json) -> None:
    """Write outputs that the validator refuses."""
    write_all(config, spoil=True)


def run_partial_output(config: Json) -> None:
    """Write the first output and forget the others."""
    write_output(config["outputs"][0], config)


def hold_memory(config: Json, seconds: float) -> int:
    """Take memory and hold it for a while; give the MB."""
    held: List[bytearray] = []
    while len(held) * CHUNK_MB < config["memory_mb"]:
        held.append(bytearray(os.urandom(1)) * (CHUNK_MB * 2**20))
    print(f"holds {len(held) * CHUNK_MB} MB", flush=True)
    time.sleep(seconds)
    return len(held) * CHUNK_MB


def run_too_much_memory(config: Json) -> None:
    """Take memory and hold it until someone stops this."""
    raise FailedError(f"nobody stopped this at {hold_memory(config, HOLD_S)} MB")


def run_memory(config: Json) -> None:
    """Take memory and hold it for a while, then succeed."""
    hold_memory(config, config["duration_s"])
    write_all(config)


def run_too_long(config: Json) -> None:
    """Run for longer than the job may."""
    time.sleep(config["duration_s"])
    write_all(config)


BEHAVIOURS: Dict[str, Callable[[Json], None]] = {
    "ok": run_ok,
    "slow": run_slow,
    "fail_once": run_fail_once,
    "always_fail": run_always_fail,
    "corrupt_output": run_corrupt_output,
    "partial_output": run_partial_output,
    "too_much_memory": run_too_much_memory,
    "memory": run_memory,
    "too_long": run_too_long,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, str) and v and Path(v).name == v for v in value)
    )


# key -> (what is allowed, its test, default or None when it must be there)
KEYS: Dict[str, Tuple[str, Callable[[Any], bool], Any]] = {
    "behaviour": (" or ".join(BEHAVIOURS), lambda v: isinstance(v, str) and v in BEHAVIOURS, None),
    "outputs": ("a list of file names", _are_names, None),
    "message": ("text", lambda v: isinstance(v, str), "hello"),
    "index": ("a whole number", lambda v: isinstance(v, int) and v >= 0, 0),
    "duration_s": ("seconds", _is_number, 1),
    "memory_mb": ("MB", _is_number, 4000),
    "failing_attempts": ("a whole number", lambda v: isinstance(v, int) and v >= 0, 1),
}


def read_config(path: Path) -> Json:
    """Read a configuration; `RefusedError` names every key that is wrong."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise RefusedError(f"{path}: a JSON object is needed")
    problems = [
        "{} is unknown: allowed {}".format(k, ", ".join(KEYS)) for k in sorted(set(config) - set(KEYS))
    ]
    for key, (allowed, accepts, default) in KEYS.items():
        value = config.get(key, default)
        if value is None or not accepts(value):
            problems.append(f"{key} = {json.dumps(value)[:80]}: allowed {allowed}")
    if problems:
        raise RefusedError("; ".join(problems))
    config.setdefault("duration_s", 3600 if config["behaviour"] == "too_long" else KEYS["duration_s"][2])
    return {key: config.get(key, default) for key, (_, _, default) in KEYS.items()}


def _check(name: str, passed: bool, value: str, allowed: str, message: str) -> Json:
    return {
        "name": name,
        "target": "FILE",
        "passed": passed,
        "value": value,
        "allowed": allowed,
        "message": "" if passed else message,
    }


def read_output(path: Path) -> Json:
    """Read an output as a JSON object; ValueError or OSError when it is none."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError("the file holds no JSON object")
    return document


def validate(path: Path) -> Tuple[Json, int]:
    """Check an output; give the report and the exit code."""
    try:
        document = read_output(path)
    except (OSError, ValueError) as error:
        checks = [_check("file.readable", False, str(error), "a JSON object", f"cannot be read: {error}")]
        return report(path, checks, {}, UNREADABLE), UNREADABLE
    computed = digest(document)
    message = document.get("message")
    differing = sorted(MEMBERS.symmetric_difference(document))
    checks = [
        _check("file.readable", True, "read", "a JSON object", ""),
        _check(
            "hello.format",
            document.get("format") == FORMAT and not differing,
            str(document.get("format")),
            FORMAT,
            "format or members are wrong: {}".format(", ".join(differing) or document.get("format")),
        ),
        _check(
            "hello.checksum",
            document.get("sha256") == computed,
            str(document.get("sha256")),
            computed,
            "the content is not what the checksum is of",
        ),
        _check(
            "hello.message",
            isinstance(message, str) and bool(message),
            str(message),
            "text",
            "there is no message",
        ),
    ]
    code = VALID if all(check["passed"] for check in checks) else INVALID
    summary = {key: document.get(key) for key in ("message", "index")}
    return report(path, checks, summary, code), code


def report(path: Path, checks: List[Json], summary: Json, code: int) -> Json:
    """Give a validator's report."""
    return {
        "schema": 1,
        "file": path.name,
        "format": FORMAT,
        "verdict": VERDICTS[code],
        "checks": checks,
        "summary": summary,
    }


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="esap-noop", description=__doc__)
    parser.add_argument("--version", action="version", version="esap-noop " + VERSION)
    commands = parser.add_subparsers(dest="command")
    commands.required = True
    run = commands.add_parser("run", help="behave as a configuration says")
    run.add_argument("--config", type=Path, required=True)
    check = commands.add_parser("validate", help="check an output; JSON on stdout")
    check.add_argument("file", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    options = parse(arguments)
    if options.command == "validate":
        document, code = validate(options.file)
        print(json.dumps(document, indent=1))
        return code
    try:
        config = read_config(options.config)
        print("{}: {}".format(config["behaviour"], config["message"]), flush=True)
        BEHAVIOURS[config["behaviour"]](config)
    except RefusedError as error:
        print(f"esap-noop: {error}", file=sys.stderr)
        return REFUSED
    except FailedError as error:
        print(f"esap-noop: {error}", file=sys.stderr)
        return FAILED
    return 0
