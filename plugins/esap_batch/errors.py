"""Errors that a user or an administrator can act on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHOWN_CHARACTERS = 80
SHOWN_PROBLEMS = 50


class _Missing:
    """Stands for the value of a field that was not given."""

    def __repr__(self) -> str:
        return "(not given)"


MISSING = _Missing()


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request. `allowed` and `message` may be empty."""

    field: str
    value: object
    allowed: str
    message: str

    def __str__(self) -> str:
        text = f"{self.field} = {shown(self.value)}"
        text += f": allowed {self.allowed}" if self.allowed else ""
        return f"{text} ({self.message})" if self.message else text


class RequestRefused(ValueError):  # noqa: N818 - says what happened
    """A request that cannot be run as it is, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        many = f"{len(self.problems)} problems" if len(self.problems) != 1 else "1 problem"
        lines = [f"- {p}" for p in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > SHOWN_PROBLEMS:
            lines.append(f"- and {len(self.problems) - SHOWN_PROBLEMS} more")
        super().__init__("\n".join([f"the request is refused, {many}:", *lines]))


class ConfigurationError(RuntimeError):
    """A file of the configuration that is missing or wrong: for the administrator, not the user."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}")


def shown(value: object) -> str:
    """Give a value as JSON, cut to `SHOWN_CHARACTERS`."""
    try:
        text = repr(value) if value is MISSING else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."
