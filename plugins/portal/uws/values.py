"""Values of UWS's own parameters, read strictly: times are UTC as VOResource writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from esap_batch.errors import Problem
from portal.core.phases import Phase
from portal.core.refusals import BadRequest

LONGEST_DURATION_S = 2**31 - 1  # xs:int in the schema
_TIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?)?Z?", re.ASCII
)
_WHOLE = re.compile(r"-?\d{1,12}", re.ASCII)


def moment(name: str, text: str) -> datetime:
    """Read a time; what is left out of it is the earliest."""
    found = _TIME.fullmatch(text.strip())
    allowed = "a time in UTC, e.g. 2026-11-21T09:30:00Z"
    if not found:
        raise BadRequest([Problem(name, text, allowed, "")])
    *parts, fraction = found.groups()
    year, month, day, hour, minute, second = (int(p) if p else None for p in parts)
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        return datetime(
            year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, microsecond, tzinfo=UTC
        )
    except ValueError as error:
        raise BadRequest([Problem(name, text, allowed, str(error))]) from None


def whole(name: str, text: str, least: int, most: int | None = None) -> int:
    """Read a whole number within limits."""
    allowed = f"a whole number of at least {least}" if most is None else f"a whole number, {least} to {most}"
    if not _WHOLE.fullmatch(text.strip()):
        raise BadRequest([Problem(name, text, allowed, "")])
    number = int(text)
    if number < least or (most is not None and number > most):
        raise BadRequest([Problem(name, text, allowed, "")])
    return number


def duration(name: str, text: str) -> int:
    """Read a limit of time in seconds; 0 for none."""
    return whole(name, text, 0, LONGEST_DURATION_S)


def phase(name: str, text: str) -> Phase:
    """Read a phase; names of phases are in capitals."""
    if text not in Phase.__members__:
        raise BadRequest([Problem(name, text, ", ".join(Phase), "")])
    return Phase(text)


def job_id(text: str) -> int | None:
    """Read a job's id as this service gives them; None for what can be none."""
    return int(text) if re.fullmatch(r"[1-9]\d{0,17}", text, re.ASCII) else None


def written(when: datetime) -> str:
    """Write a time as the documents have it."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
