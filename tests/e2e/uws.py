"""UWS as a client of the standard sees it; every document that it gets has to be valid."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from localgrid.airflow_api import AirflowApi
from tests.uws_schema import HREF, NAMES, parsed, said

QUIET = "hello_world"  # the workflow whose jobs are quick


@dataclass
class Uws:
    """The job lists of one user. Paths are below /uws."""

    api: AirflowApi

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.api.token}"}
        self.http = httpx.Client(base_url=f"{self.api.url}/uws/", headers=headers, timeout=60)

    def xml(self, path: str, **params: Any) -> Any:
        """Get a document."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/xml"
        return parsed(answer.content)

    def text(self, path: str, **params: Any) -> str:
        """Get a value."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return answer.text

    def post(self, path: str, **data: Any) -> str:
        """Post a form and give the path that leads on, below /uws."""
        return self.led(self.http.post(path, data=data))

    def led(self, answer: httpx.Response) -> str:
        """Give the path that an answer leads to: an absolute address of this service."""
        assert answer.status_code == 303, answer.text
        location = answer.headers["location"]
        assert location.startswith(f"{self.api.url}/uws/"), location
        return urlsplit(location).path.removeprefix("/uws/")

    def refused(self, method: str, path: str, status: int = 400, **options: Any) -> str:
        """Make a call that has to be refused, and give what the service says."""
        answer = self.http.request(method, path, **options)
        assert answer.status_code == status, (answer.status_code, answer.text)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return answer.text

    def make(self, workflow: str = QUIET, **fields: Any) -> str:
        """Make a job that no other test has, and give its path."""
        if workflow == QUIET:
            fields.setdefault("message", uuid.uuid4().hex)
        return self.post(f"{workflow}/jobs", **fields)

    def phase(self, path: str) -> str:
        return self.text(f"{path}/phase")

    def ids(self, path: str = "jobs", **params: Any) -> list[str]:
        """List jobs and give their ids, in the order of the list."""
        return [ref.get("id") for ref in self.xml(path, **params)]

    def say(self, path: str, name: str) -> str | None:
        """Give an element of a job."""
        return said(self.xml(path), name)

    def parameters(self, path: str) -> dict[str, str]:
        return {p.get("id"): p.text or "" for p in self.xml(f"{path}/parameters")}

    def results(self, path: str) -> dict[str, Any]:
        """Give the results of a job, as elements by their ids."""
        found = self.xml(path).find("uws:results", NAMES)
        assert [r.attrib for r in found] == [r.attrib for r in self.xml(f"{path}/results")]
        return {r.get("id"): r for r in found}

    def run_id(self, path: str) -> str:
        """Give the name of a job's run in Airflow, to which the job leads."""
        (address,) = [
            e.text or "" for e in self.xml(path).find("uws:jobInfo", NAMES) if e.tag.endswith("}run")
        ]
        return unquote(address.rpartition("/")[2])

    def fetch(self, result: Any) -> httpx.Response:
        """Fetch a result by its link alone."""
        return self.http.get(result.get(HREF))


def utc(**later: float) -> str:
    """Give a time from now on, as the service writes times."""
    return (datetime.now(UTC) + timedelta(**later)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(path: str) -> str:
    """Give the id of a job by its path."""
    return path.rsplit("/", 1)[-1]
