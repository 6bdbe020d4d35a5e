from __future__ import annotations

import copy
import hashlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.fingerprint import canonical_json, fingerprint

scalars = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
requests = st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=6)


def steering(request: dict[str, Any], **more: Any) -> dict[str, Any]:
    document = {
        "workflow": "w",
        "request": request,
        "software": [{"name": "s", "version": "1"}],
        "production": {"events_per_job": 10},
        "without_effect": [],
    }
    return {**document, **more}


def reordered(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: reordered(v) for k, v in reversed(node.items())}
    return [reordered(v) for v in node] if isinstance(node, list) else node


@given(requests)
def test_the_order_of_keys_does_not_matter(request: dict[str, Any]) -> None:
    document = steering(request)
    assert fingerprint(reordered(document)) == fingerprint(document)


@given(st.integers(min_value=-(2**53), max_value=2**53))
def test_whole_numbers_are_equal_as_int_and_float(number: int) -> None:
    assert fingerprint(steering({"x": number})) == fingerprint(steering({"x": float(number)}))


def test_minus_zero_is_zero_but_false_is_not() -> None:
    assert canonical_json([-0.0, 0, 0.0]) == "[0,0,0]"
    assert canonical_json([False, True, 1]) == "[false,true,1]"


@given(requests, json_values, json_values)
def test_excluded_fields_do_not_matter(request: dict[str, Any], one: Any, other: Any) -> None:
    documents = [
        steering({**request, "job_name": value}, without_effect=["job_name"]) for value in (one, other)
    ]
    absent = steering({k: v for k, v in request.items() if k != "job_name"}, without_effect=["job_name"])
    assert fingerprint(documents[0]) == fingerprint(documents[1]) == fingerprint(absent)


@given(requests, st.text(min_size=1, max_size=8), json_values)
def test_any_other_change_matters(request: dict[str, Any], name: str, value: Any) -> None:
    before, after = steering(request), steering({**request, name: value})
    same = name in request and canonical_json(request[name]) == canonical_json(value)
    assert (fingerprint(before) == fingerprint(after)) is same


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workflow", "v"),
        ("software", [{"name": "s", "version": "2"}]),
        ("production", {"events_per_job": 11}),
        ("calibration", {"tables": []}),
    ],
)
def test_what_else_decides_the_result(key: str, value: Any) -> None:
    assert fingerprint(steering({}, **{key: value})) != fingerprint(steering({}))


@pytest.mark.parametrize("key", ["owner", "run_id", "limits", "checks", "profile", "steering_version"])
def test_who_where_and_how_does_not(key: str) -> None:
    assert fingerprint(steering({}, **{key: "anything"})) == fingerprint(steering({}))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="allowed are finite ones"):
        fingerprint(steering({"x": [number]}))


def test_it_is_sha256_and_stays_what_it_is() -> None:
    # Products in the lake are named by it: a change here makes every known production unknown.
    document = steering({"b": [1.0, {"é": None}], "a": -0.5})
    before = copy.deepcopy(document)
    assert canonical_json(document["request"]) == '{"a":-0.5,"b":[1,{"\\u00e9":null}]}'
    text = (
        '{"production":{"events_per_job":10},"request":{"a":-0.5,"b":[1,{"\\u00e9":null}]},'
        '"software":[{"name":"s","version":"1"}],"workflow":"w"}'
    )
    assert fingerprint(document) == hashlib.sha256(text.encode()).hexdigest()
    assert document == before
