"""The report of a validator: a list of named checks and the verdict that follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA = 1


class Verdict(StrEnum):
    """What a validator says of a file."""

    VALID = "valid"
    INVALID = "invalid"
    UNREADABLE = "unreadable"


EXIT_CODES = {Verdict.VALID: 0, Verdict.INVALID: 1, Verdict.UNREADABLE: 2}
READABLE = "file.readable"


@dataclass(frozen=True)
class Check:
    """One thing looked at. `target` is the HDU or FILE, `allowed` says in words or numbers what passes."""

    name: str
    target: str
    passed: bool
    value: float | str | None
    allowed: str
    message: str


@dataclass
class Report:
    """All checks of one file, in the order they were made."""

    file: str
    format: str
    checks: list[Check] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def add(
        self, name: str, target: str, passed: bool, *, value: float | str | None, allowed: str, message: str
    ) -> bool:
        """Note a check; `message` is kept only when it failed. Gives `passed`."""
        self.checks.append(Check(name, target, bool(passed), value, allowed, "" if passed else message))
        return bool(passed)

    def note(self, name: str, passed: bool, allowed: str, problem: str, target: str = "FILE") -> bool:
        """Note a check that is a matter of yes or no; `problem` says what is wrong when it has not passed."""
        value = "as it should be" if passed else problem
        return self.add(name, target, passed, value=value, allowed=allowed, message=problem)

    @property
    def verdict(self) -> Verdict:
        failed = {check.name for check in self.checks if not check.passed}
        if READABLE in failed:
            return Verdict.UNREADABLE
        return Verdict.INVALID if failed or not self.checks else Verdict.VALID

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def document(self) -> dict[str, Any]:
        """Give the report as JSON."""
        return {
            "schema": SCHEMA,
            "file": self.file,
            "format": self.format,
            "verdict": str(self.verdict),
            "checks": [asdict(check) for check in self.checks],
            "summary": self.summary,
        }
