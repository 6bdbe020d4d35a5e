from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.facilities import Facility, load_facilities
from esap_batch.identity import Identity, load_identities
from hooks import places as module
from hooks.places import Places, PlacesRef, places_ref

CONFIG = Path(__file__).parents[3] / "config"
REF: PlacesRef = {"facility": "cscs", "experiment": "ctao", "user": "alice"}


@pytest.fixture
def cscs() -> Facility:
    return next(f for f in load_facilities(CONFIG / "facilities.yaml") if f.name == "cscs")


@pytest.fixture
def alice() -> Identity:
    return load_identities(CONFIG / "identity.yaml").identity_of("alice")


def test_only_a_facility_with_a_limit_is_asked_for_places(cscs: Facility, alice: Identity) -> None:
    assert places_ref(cscs, alice) is None
    assert Places.of(None, "batch") is None
    limited = replace(cscs, limits=replace(cscs.limits, max_active_jobs=5))
    assert places_ref(limited, alice) == REF


def test_tasks_and_triggers_ask_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Broker:
        def places(self, *names: str, **numbers: int) -> int:
            asked.append((names, numbers))
            return 2

        def give_back(self, *names: str) -> None:
            asked.append(names)

    async def astanding() -> Broker:
        return Broker()

    monkeypatch.setattr(module, "Broker", SimpleNamespace(standing=Broker, astanding=astanding))
    for places in (Places.of(REF, "batch"), asyncio.run(Places.aof(REF, "batch"))):
        assert places is not None
        assert places.look(3, 4) == 2
        assert places.ask(3, 4) == 2
        places.give_back()
    names, numbers = ("cscs", "batch", "alice", "ctao"), {"active": 3, "waiting": 4}
    told = [(names, {**numbers, "look": True}), (names, {**numbers, "look": False})]
    assert asked == [*told, ("cscs", "batch", "alice")] * 2


def test_a_limit_without_the_place_where_it_is_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Broker", SimpleNamespace(standing=lambda: None))
    with pytest.raises(AirflowFailException, match="needs the connection esap_broker"):
        Places.of(REF, "batch")
