"""What validators say of outputs."""

import contextlib
import json
import os
from typing import Any, Callable, List

from .logs import say, tail_of
from .reasons import JobError, Json
from .transports import DISK_FULL

VERDICTS = {0: "valid", 1: "invalid", 2: "unreadable"}
Run = Callable[[List[str], Any, Any], int]


def verdict_on(one: Json, run: Run) -> Json:
    """Run one output's validator and give its report; JobError when it does not do its work."""
    name, command = one["name"], " ".join(one["validator"])
    kept, errors = ".validator.out", ".validator.err"
    try:
        with open(kept, "wb") as stdout, open(errors, "wb") as stderr:
            code = run(one["validator"], stdout, stderr)
        with open(kept, encoding="utf-8", errors="replace") as stream:
            report = json.loads(stream.read())
    except JobError as error:
        if error.reason == "TERMINATED":
            raise
        raise JobError("VALIDATOR_FAILED", f"{command} was stopped: {error}") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise JobError("VALIDATOR_FAILED", f"{command} cannot be started: {error}") from error
    except ValueError:
        message = "{} printed no JSON and ended with {}: {}"
        raise JobError("VALIDATOR_FAILED", message.format(command, code, tail_of(errors)[-300:])) from None
    finally:
        for path in (kept, errors):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    verdict = report.get("verdict") if isinstance(report, dict) else None
    if VERDICTS.get(code) != verdict:
        message = "{} ended with {} and the verdict {}: allowed are 0 valid, 1 invalid, 2 unreadable"
        raise JobError("VALIDATOR_FAILED", message.format(command, code, json.dumps(verdict)))
    say(f"output {name} is {verdict}")
    return {"output": name, "verdict": verdict, "exit_code": code, "report": report}
