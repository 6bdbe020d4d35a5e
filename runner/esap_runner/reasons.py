"""How a job ends: each reason with its exit code. docs/runner.md has their meaning."""

from typing import Any, Dict

Json = Dict[str, Any]
EXIT_CODES = {
    "OK": 0,
    "BAD_DESCRIPTION": 10,
    "SOFTWARE_MISSING": 11,
    "INPUT_MISSING": 20,
    "INPUT_CORRUPT": 21,
    "INPUT_UNREACHABLE": 22,
    "PAYLOAD_FAILED": 30,
    "PAYLOAD_SIGNAL": 31,
    "MEMORY_LIMIT": 32,
    "TIME_LIMIT": 33,
    "DISK_LIMIT": 34,
    "OUTPUT_MISSING": 40,
    "VALIDATOR_FAILED": 41,
    "UPLOAD_FAILED": 50,
    "TERMINATED": 60,
    "INTERNAL": 70,
}


class JobError(Exception):
    """The job ends here. `reason` is a key of `EXIT_CODES`, the text is one sentence for a user."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
