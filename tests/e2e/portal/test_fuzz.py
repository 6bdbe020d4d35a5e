"""Good and bad data made from the OpenAPI documents of the portal's apps: none is answered by a 5xx.

What an answer may be is what the documents say: status codes, content types, shapes, headers.
"""

from __future__ import annotations

import html
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode

from localgrid.airflow_api import AirflowApi
from localgrid.grid import Grid

MOUNTS = ("/uws", "/esap-api", "/batch")
USER = "dave"  # whose jobs no other test waits for
WORKFLOW = "hello_world"
EXAMPLES = 6  # for each operation
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "missing_required_header",
)
FUZZING = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,  # the same data each time: a failure can be looked at again
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def dave(grid: Grid) -> Iterator[AirflowApi]:
    api = AirflowApi.of(grid.info, USER)
    yield api
    real_things(api)  # can be made: other tests find the limits as they are at first


def document(api: AirflowApi, mount: str) -> Any:
    """Load an app's OpenAPI document as it is served."""
    served = httpx.get(f"{api.url}{mount}/openapi.json", timeout=60)
    assert served.status_code == 200, served.text
    schema = schemathesis.openapi.from_dict(served.json())
    schema.config.update(base_url=f"{api.url}{mount}")
    schema.config.generation.modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    return schema


@pytest.fixture(scope="module")
def done(dave: AirflowApi, wait_for: Callable[..., Any]) -> int:
    """Have a job with results, which is only looked at."""
    with httpx.Client(base_url=f"{dave.url}/esap-api", auth=dave.auth, timeout=60) as esap:
        job = {"workflow": WORKFLOW, "phase": "RUN", "request": {"message": "to be looked at"}}
        number = int(esap.post("/uws/jobs/", json=job).json()["jobId"])
        wait_for(lambda: esap.get(f"/uws/jobs/{number}/").json()["phase"] == "COMPLETED", within=240)
    return number


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("mode", GenerationMode)
def test_answers_are_as_documented_whatever_is_sent(
    dave: AirflowApi, done: int, mount: str, mode: GenerationMode
) -> None:
    wrong = [
        f"{operation.label}: {failure}"
        for operation in operations(dave, mount)
        for failure in failures(operation, mode, dave, done)
    ]
    assert not wrong, "\n\n".join(wrong)


def operations(api: AirflowApi, mount: str) -> list[Any]:
    """Give the operations of an app from its OpenAPI document as it is served."""
    served = httpx.get(f"{api.url}{mount}/openapi.json", timeout=60)
    assert served.status_code == 200, served.text
    schema = schemathesis.openapi.from_dict(served.json())
    schema.config.update(base_url=f"{api.url}{mount}")
    found: Any = schema.get_all_operations()
    return [operation.ok() for operation in found]


def failures(operation: Any, mode: GenerationMode, api: AirflowApi, done: int) -> Iterator[str]:
    """Try one operation out on what is there and what is not; give the first thing that is wrong."""
    checks, real = CHECKS.get_by_names(CHECKED), real_things(api)
    if operation.method in ("get", "head"):
        real["job_id"] = done
    if "results" in operation.path:
        real["name"] = real["result_id"]

    @FUZZING
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def try_out(case: Any, known: bool) -> None:
        assume(
            not any("\n" in str(part) for part in case.path_parameters.values())
        )  # leads to no mounted app
        if known:
            case.path_parameters.update((k, v) for k, v in real.items() if k in case.path_parameters)
            if case.path.startswith("/sessions"):
                case.path_parameters["token"] = real["session"]
            if isinstance(case.body, dict) and "token" in case.body:
                case.body["token"] = real["form"]
        assume(
            "%0a" not in case.formatted_path.lower()
        )  # Airflow's own app answers: it leads to no mounted one
        hurry(case)
        headers = {"Authorization": f"Bearer {api.token}"}
        case.call_and_validate(headers=headers, checks=checks, timeout=60)

    try:
        try_out()
    except Unsatisfiable:  # nothing can be wrong with an operation that takes nothing
        assert mode is GenerationMode.NEGATIVE
    except (Failure, FailureGroup) as failure:
        yield str(failure)


def hurry(case: Any) -> None:
    """Take back that an answer may wait: a job that is not started would use all of the time."""
    if isinstance(case.query, dict) and isinstance(case.query.get("WAIT"), int):
        case.query["WAIT"] = min(case.query["WAIT"], 1) if case.query["WAIT"] != -1 else 1


def posted(esap: httpx.Client, path: str, body: Any) -> Any:
    """Post, again when the user's limit of changes, which is soon reached here, lets it; give the answer."""
    while (answer := esap.post(path, json=body)).status_code == httpx.codes.TOO_MANY_REQUESTS:
        time.sleep(float(answer.headers["Retry-After"]))
    assert not answer.is_error, answer.text
    return answer.json()


def real_things(api: AirflowApi) -> dict[str, Any]:
    """Make a job, a steering file and offers, and take a form's own token from its page."""
    with httpx.Client(base_url=f"{api.url}/esap-api", auth=api.auth, timeout=60) as esap:
        job = {"workflow": WORKFLOW, "request": {"message": f"to be fuzzed {uuid.uuid4()}"}}
        executable = {"type": "urn:esap-batch:workflow-1.0", **job}
        made = posted(esap, "/uws/jobs/", job)
        file = posted(esap, "/batch/steering/", job)
        offers = posted(esap, "/offersets/", {"executable": executable})
        page = esap.get(f"{api.url}/batch/new/{WORKFLOW}").text
    tokens = [
        address.rstrip("/").rpartition("/")[2] for address in (offers["href"], offers["offers"][0]["href"])
    ]
    shown = re.search(r'name="token" value="([^"]+)"', page)
    assert shown, page
    return {
        "job_id": made["jobId"], "key": file["uuid"], "workflow": WORKFLOW, "name": "message",
        "result_id": "hello_00000.json", "task": "submit_jobs", "number": 0,
        "token": tokens[0], "session": tokens[1], "form": html.unescape(shown[1]),
    }  # fmt: skip
