"""Addresses that clients are sent to."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from portal.core.addresses import public_base

PUBLIC = "https://esap.example/airflow"


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"{PUBLIC}/")


def request(prefix: str = "", **headers: str) -> Request:
    encoded = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "scheme": "http", "path": "/uws/jobs", "query_string": b"", "headers": encoded}
    return Request({**scope, "root_path": f"{prefix}/uws", "app_root_path": prefix})


def test_it_is_the_address_that_the_client_has_called() -> None:
    assert public_base(request(host="127.0.0.1:8080")) == "http://127.0.0.1:8080"
    assert public_base(request("/airflow", host="[::1]:8080")) == "http://[::1]:8080/airflow"


@pytest.mark.parametrize(
    "header", ["forwarded", "x_forwarded_host", "x_forwarded_proto", "x_forwarded_prefix"]
)
def test_behind_a_proxy_it_is_the_configured_one_whatever_is_claimed(header: str) -> None:
    assert public_base(request(host="10.0.0.7:8080", **{header: "evil.example"})) == PUBLIC


@pytest.mark.parametrize(
    "host", ["", "evil.example/path", "a b", "x@y", "esap.example:999999", "a\\b", "<a>"]
)
def test_a_host_that_is_none_is_not_repeated(host: str) -> None:
    assert public_base(request(host=host)) == PUBLIC
