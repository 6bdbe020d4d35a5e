"""What a caller is told when a request cannot be done, whatever the dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from esap_batch.errors import Problem


class Refusal(Exception):  # noqa: N818 - says what happened
    """Base of all: `status` is the HTTP status, the text is for the caller."""

    status = 400
    headers: Mapping[str, str] = MappingProxyType({})  # of the answer


class BadRequest(Refusal):
    """Parameters that cannot be used: every problem with field, value and what is allowed."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(str(p) for p in problems))


class Forbidden(Refusal):
    """The caller may not do this."""

    status = 403


class NotFound(Refusal):
    """There is no such thing, or none that the caller may see: nobody learns which."""

    status = 404


class Conflict(Refusal):
    """The job is in a phase in which this cannot be done."""

    status = 409


class TooLarge(Refusal):
    """The body is larger than any request need be."""

    status = 413


class UnsupportedMedia(Refusal):
    """The body is of a type that is not read here."""

    status = 415


class TooMany(Refusal):
    """A limit of config/limits.yaml is used up."""

    status = 429

    def __init__(self, told: str, retry_after: str) -> None:
        self.headers = {"Retry-After": retry_after}
        super().__init__(told)


class Unavailable(Refusal):
    """Airflow or a back end does not answer."""

    status = 503
