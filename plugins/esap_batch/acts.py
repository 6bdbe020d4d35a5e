"""What counts as an act of somebody, for the audit log: named by method and path of its request.

Reading is no act, but for results that leave the service and lists of other people's credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 300  # characters of a value
LOGIN, LOGOUT = "login", "logout"
JOB_SUBMIT, JOB_CREATE, JOB_CHANGE = "job.submit", "job.create", "job.change"
JOB_ABORT, JOB_DELETE, JOB_END = "job.abort", "job.delete", "job.end"
RESULT, CREDENTIAL_USE = "result.download", "credential.use"
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class Rule:
    """Requests that are one kind of act. Named groups of the path become facts."""

    methods: frozenset[str]
    path: re.Pattern[str]
    act: str


def _rule(methods: str, path: str, act: str) -> Rule:
    return Rule(frozenset(methods.split()), re.compile(path), act)


_JOB = r"/(?:uws/(?:[^/]+/)?jobs|esap-api/uws/jobs|batch/jobs)/(?P<job>[0-9]{1,19})"
_RUN = r"/api/v2/dags/(?P<dag>[^/]+)/dagRuns"
RULES = (
    _rule("GET HEAD", rf"{_JOB}/results(?:\.zip|/[^/]+)", RESULT),
    _rule("DELETE", _JOB, JOB_DELETE),
    _rule("POST", rf"{_JOB}/phase", "job.phase"),  # which one is known when it has been read
    _rule("POST", rf"{_JOB}/abort", JOB_ABORT),
    _rule("POST", rf"{_JOB}/run", JOB_SUBMIT),
    _rule("GET", r"/auth/callback/[^/]+", LOGIN),
    _rule("GET", r"/auth/logout", LOGOUT),
    _rule("POST", r"/auth/token", "token.exchange"),
    _rule("POST", r"/batch-broker/tokens", CREDENTIAL_USE),
    _rule("POST", r"/batch-broker/(?:credentials/connect|api/devices)", "consent.begin"),
    _rule("GET", r"/batch-broker/callback", "consent.give"),
    _rule("POST", r"/batch-broker/api/devices/poll", "consent.give"),
    _rule("POST", r"/batch-broker/credentials/disconnect", "consent.withdraw"),
    _rule("DELETE", r"/batch-broker/api/credentials/(?P<system>.+)", "consent.withdraw"),
    _rule("POST", r"/batch-broker/credentials/proxy", "credential.upload"),
    _rule("PUT", r"/batch-broker/api/credentials/x509", "credential.upload"),
    _rule("GET", r"/batch-broker/api/all-credentials", "credential.list_all"),
    _rule("POST", r"/batch-broker/api/reseal", "credential.reseal"),
    _rule("POST", r"/batch-broker/history/(?:delete|records)", "housekeeping.delete"),
    _rule("POST", _RUN, "run.trigger"),
    _rule("PATCH", rf"{_RUN}/(?P<run>[^/]+)", "run.end"),
    _rule("DELETE", rf"{_RUN}/(?P<run>[^/]+)", "run.delete"),
    _rule("POST", rf"{_RUN}/(?P<run>[^/]+)/clear", "run.clear"),
    _rule("POST", r"/api/v2/dags/(?P<dag>[^/]+)/clearTaskInstances", "run.clear"),
    _rule("PATCH", rf"{_RUN}/(?P<run>[^/]+)/taskInstances/[^/]+/[^/]+/hitlDetails", "run.answer"),
    _rule("PATCH", rf"{_RUN}/(?P<run>[^/]+)/taskInstances/.+", "run.set_task"),
    _rule("POST", r"/api/v2/backfills(?:/.+)?", "run.backfill"),
    _rule("PATCH DELETE", r"/api/v2/dags(?:/(?P<dag>[^/]+))?", "dag.change"),
)
# Tasks and pollers of this service at its own doors: no acts of anybody.
_MACHINERY = re.compile(r"/batch-broker/places(?:/.*)?")
_BY_DOOR = (("/uws", JOB_CHANGE), ("/esap-api", JOB_CHANGE), ("/batch", JOB_CHANGE), ("/auth", LOGIN))
OTHER = "admin.change"  # whatever else changes something: connections, variables, pools, ...


def act_of(method: str, path: str, *, reads_only: bool) -> tuple[str, dict[str, Any]] | None:
    """Name the act of a request, with the facts that its path tells; None when it is none."""
    bare = path.rstrip("/") or "/"
    for rule in RULES:
        if method in rule.methods and (found := rule.path.fullmatch(bare)):
            return rule.act, _facts(found)
    if reads_only or method not in CHANGES or _MACHINERY.fullmatch(bare):
        return None
    found = re.match(_JOB, bare)
    facts = _facts(found) if found else {}
    for prefix, act in _BY_DOOR:
        if bare == prefix or bare.startswith(f"{prefix}/"):
            return act, facts
    return OTHER, {"target": f"{method} {bare}"[:LONGEST]} if bare.startswith("/api/v2/") else {}


def _facts(found: re.Match[str]) -> dict[str, Any]:
    told: dict[str, Any] = {name: value for name, value in found.groupdict().items() if value}
    if "job" in told:
        told["job"] = int(told["job"])
    dag, run = told.pop("dag", ""), told.pop("run", "")
    return {**told, **({"run": f"{dag}/{run}" if run else dag} if dag else {})}


def verdict(status: int) -> str:
    """Say by an HTTP status how an act ended."""
    if status < 400:  # noqa: PLR2004 - HTTP's errors
        return "done"
    return "refused" if status < 500 else "failed"  # noqa: PLR2004


def record(act: str, time: str, user: str, outcome: str, **facts: Any) -> dict[str, Any]:
    """Make a line of the audit log; every line has all the first names, empty where nothing is known."""
    line: dict[str, Any] = {
        "time": time,
        "act": act,
        "user": user,
        "outcome": outcome,
        "run": "",
        "job": "",
        "facility": "",
        "address": "",
    }
    return line | _short(facts)


def _short(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, int) else str(v)[:LONGEST] for k, v in facts.items()}
