from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Variable

from esap_batch.health import CLOCK, Check, Health, Outcome
from hooks.facility_health import check_settings, remember, remembered

HEALTH = Health("here", 5.0, (Check(CLOCK, Outcome.FAILED, "late"),))


def test_the_last_result_of_each_facility_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, str] = {}

    def put(key: str, value: Any, _description: str, *, serialize_json: bool) -> None:
        assert serialize_json
        kept[key] = json.dumps(value)

    def get(key: str, default: Any, *, deserialize_json: bool) -> Any:
        assert deserialize_json
        return json.loads(kept[key]) if key in kept else default

    monkeypatch.setattr(Variable, "set", put)
    monkeypatch.setattr(Variable, "get", get)
    remember(HEALTH)
    assert set(kept) == {"esap_facility_health_here"}
    assert remembered(["there", "here"]) == [HEALTH]


def test_every_facility_has_somebody_who_tests_it() -> None:
    assert {"ctao", "km3net", "fair", "ska"} <= set(check_settings()["users"])
