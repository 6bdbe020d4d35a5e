"""Reading of the JSON documents that a job brings with it, with every problem named at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

REQUIRED = object()
LONGEST_VALUE = 68  # characters of a text in one FITS card


class PayloadError(Exception):
    """Something the user or the workflow must change; its text is what they read."""


@dataclass(frozen=True)
class Key:
    """One key of a document: what it may hold, in words and as a test, and its default."""

    allowed: str
    accepts: Callable[[Any], bool]
    default: Any = REQUIRED


def read_json(path: Path) -> Any:
    """Read a JSON file; PayloadError names the file and the place of the mistake."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PayloadError(f"cannot read {path}: {error}") from error
    except json.JSONDecodeError as error:
        raise PayloadError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error


def read_document(path: Path, keys: Mapping[str, Key]) -> dict[str, Any]:
    """Read a JSON object and fill in defaults; PayloadError lists every unknown, missing or wrong key."""
    return complete(read_json(path), keys, str(path))


def complete(document: Any, keys: Mapping[str, Key], where: str) -> dict[str, Any]:
    """Fill in the defaults of a JSON object that stands at `where`; PayloadError as of `read_document`."""
    if not isinstance(document, dict):
        raise PayloadError(f"{where}: a JSON object is needed, this is {type(document).__name__}")
    problems = [f"{name} is unknown: allowed {', '.join(keys)}" for name in document if name not in keys]
    for name, key in keys.items():
        if name not in document and key.default is REQUIRED:
            problems.append(f"{name} is missing: allowed {key.allowed}")
        elif name in document and not key.accepts(document[name]):
            problems.append(f"{name} = {json.dumps(document[name])[:80]}: allowed {key.allowed}")
    if problems:
        raise PayloadError("\n".join(f"{where}: {problem}" for problem in problems))
    return {name: document.get(name, key.default) for name, key in keys.items()}


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """True for a finite JSON number within [low, high]."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )


def number(low: float, high: float, unit: str = "", default: Any = REQUIRED) -> Key:
    """Give the key of a number within [low, high]."""
    words = f"a number from {low:g} to {high:g} {unit}".strip()
    return Key(words, lambda v: is_number(v, low, high), default)


def integer(low: int, high: int, default: Any = REQUIRED) -> Key:
    """Give the key of a whole number within [low, high]."""
    words = f"a whole number from {low} to {high}"
    return Key(words, lambda v: isinstance(v, int) and is_number(v, low, high), default)


def choice(*values: str, default: Any = REQUIRED) -> Key:
    """Give the key of one of some words."""
    return Key(" or ".join(values), lambda v: isinstance(v, str) and v in values, default)


def text(longest: int = 60, default: Any = REQUIRED) -> Key:
    """Give the key of a text that fits into a FITS header."""

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()
        )

    return Key(f"a text of 1 to {longest} printable ASCII characters", accepts, default)


def cards(names: Iterable[str]) -> Key:
    """Give the key of texts by name that go into FITS cards, of which none has to be there."""
    known = tuple(names)

    def accepts(value: Any) -> bool:
        return isinstance(value, dict) and all(
            k in known and isinstance(v, str) and len(v) <= LONGEST_VALUE and v.isascii() and v.isprintable()
            for k, v in value.items()
        )

    words = f"an object of {', '.join(known)}, each at most {LONGEST_VALUE} ASCII characters"
    return Key(words, accepts, {})


def rising(what: str, length: int | None = None, default: Any = REQUIRED, low: float = 0) -> Key:
    """Give the key of a list of strictly rising numbers that are not below `low`."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or len(value) < 2 or length not in (None, len(value)):  # noqa: PLR2004
            return False
        if not all(is_number(v, low) for v in value):
            return False
        return all(a < b for a, b in pairwise(value))

    return Key(f"{what}, rising numbers of at least {low:g}", accepts, default)


def names(default: Any = REQUIRED) -> Key:
    """Give the key of a list of plain file names, each once."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or not value:
            return False
        if not all(isinstance(v, str) and v and Path(v).name == v for v in value):
            return False
        return len(set(value)) == len(value)

    return Key("a list of file names in the job's directory, each once", accepts, default)


def date(default: Any = REQUIRED) -> Key:
    """Give the key of a UTC time as FITS writes it."""
    return Key("a UTC time like 2026-01-31T12:00:00", is_fits_date, default)


def is_fits_date(value: Any) -> bool:
    """True for an ISO 8601 date, or date and time with a T and without a zone (FITS 4.0, 9.1.1)."""
    if not isinstance(value, str) or (len(value) > len("2026-01-31") and value[10] != "T"):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is None
    except ValueError:
        return False
