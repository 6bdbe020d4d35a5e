"""What holds for all of ESAP's calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

Esap = Callable[..., TestClient]


@pytest.mark.parametrize(
    "path", ["uws/jobs", "batch/facilities/search", "batch/workflows/search", "batch/steering"]
)
def test_the_slash_at_the_end_may_be_left_out(alice: TestClient, path: str) -> None:
    assert alice.get(path).json() == alice.get(f"{path}/").json()


def test_a_body_is_not_lost_without_the_slash(alice: TestClient) -> None:
    body = {"parameters": [{"key": "type", "value": "external"}]}
    assert alice.post("uws/jobs", json=body).status_code == 303


def test_the_document_says_what_is_answered(alice: TestClient) -> None:
    document: dict[str, Any] = alice.get("openapi.json").json()
    assert document["info"]["title"] == "ESAP batch"
    for path, operations in document["paths"].items():
        assert path.endswith("/")
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (method, path)
            assert {"400", "401", "403", "503"} <= set(operation["responses"]), (method, path)


@pytest.mark.parametrize("path", ["nothing", "uws", "batch/steering/x/y/z", "uws/jobs/1/nothing"])
def test_what_is_not_there(alice: TestClient, path: str) -> None:
    answer = alice.get(path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
