from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from broker import places
from broker.places import BELIEVED, WAITING
from esap_batch.facilities import Facility, load_facilities
from hooks.settings import config_dir
from store.sessions import now
from store.tables import Place
from tests.unit.broker.conftest import Database, Site
from tests.unit.broker.test_tasks import task_token

Ask = Callable[..., int]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that limits the jobs at every facility."""

    def set_limit(number: int | None, weights: dict[str, float] | None = None) -> None:
        def limited(path: Any) -> list[Facility]:
            return [
                replace(f, limits=replace(f.limits, max_active_jobs=number), fair_share=weights or {})
                for f in load_facilities(path)
            ]

        monkeypatch.setattr(places, "load_facilities", limited)

    return set_limit


@pytest.fixture
def ask(site: Site) -> Ask:
    def asked(
        user: str,
        waiting: int,
        active: int = 0,
        batch: str = "",
        experiment: str = "ctao",
        *,
        look: bool = False,
    ) -> int:
        body = {"facility": "cscs", "batch": batch or f"batch of {user}", "experiment": experiment}
        numbers = {"active": active, "waiting": waiting, "look": look}
        answer = site.client.post("/places", json=body | numbers, headers=proof(user))
        assert answer.status_code == 200, answer.text
        return int(answer.json()["places"])

    return asked


def proof(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {task_token(user)}"}


def later(database: Database, by: timedelta) -> None:
    """Let all batches have been silent for so long."""
    with database.transaction() as session:
        session.execute(update(Place).where(Place.batch != "").values(told_at=now() - by))


def test_without_a_limit_all_may_come(limit: Any, ask: Ask) -> None:
    limit(None)
    assert ask("alice", 1000) == 1000


def test_the_limit_holds_and_free_places_are_given(limit: Any, ask: Ask) -> None:
    limit(10)
    assert ask("alice", 30) == 10
    assert ask("alice", 20, active=10) == 0
    assert ask("alice", 20, active=7) == 3


def test_users_share_as_jobs_end(limit: Any, ask: Ask) -> None:
    limit(10)
    assert ask("alice", 100) == 10
    assert ask("bob", 100) == 0
    held = {"alice": 10, "bob": 0}
    for _ in range(10):  # one of the jobs of whoever has most ends
        most = max(held, key=lambda user: held[user])
        held[most] -= 1
        for user, number in [*held.items()]:
            held[user] = number + ask(user, 50, active=number)
            assert sum(held.values()) <= 10
    assert held == {"alice": 5, "bob": 5}


def test_experiments_share_by_weight(limit: Any, ask: Ask) -> None:
    limit(12, {"ctao": 3.0, "fair": 1.0})
    assert ask("alice", 100) == 12
    assert ask("frank", 100, experiment="fair") == 0
    assert ask("alice", 100, active=9) == 0
    assert ask("frank", 100, experiment="fair") == 3


def test_of_a_users_batches_the_older_goes_first(limit: Any, ask: Ask) -> None:
    limit(4)
    assert ask("alice", 10, batch="first") == 4
    assert ask("alice", 10, batch="second") == 0
    assert ask("alice", 6, active=3, batch="first") == 1
    assert ask("alice", 6, active=3, batch="first") == 0  # now the second has waited for longer
    assert ask("alice", 10, batch="second") == 1


def test_a_look_takes_nothing_and_costs_no_turn(limit: Any, ask: Ask) -> None:
    limit(4)
    assert ask("alice", 10, batch="first", look=True) == 4
    assert ask("bob", 3, look=True) == 2  # it is said that alice wants some as well
    assert ask("alice", 10, batch="first", look=True) == 2
    assert ask("alice", 10, batch="first") == 2


def test_batches_that_look_and_then_ask_all_come_to_their_end(limit: Any, ask: Ask) -> None:
    """Two of one user and two of others, whose triggers look and whose tasks then ask with what there is."""
    limit(3)
    left = {("alice", "one"): 9, ("alice", "two"): 9, ("bob", "three"): 9, ("carol", "four"): 9}
    running = dict.fromkeys(left, 0)
    for turn in range(60):
        for at in running:
            user, batch = at
            if ask(user, left[at], active=running[at], batch=batch, look=True):
                given = ask(user, left[at], active=running[at], batch=batch)
                left[at], running[at] = left[at] - given, running[at] + given
            assert sum(running.values()) <= 3
        oldest = [at for at in running if running[at]]
        if oldest:
            running[oldest[turn % len(oldest)]] -= 1
    assert set(left.values()) == {0}


def test_a_batch_that_is_over_gives_its_places_back(limit: Any, ask: Ask, site: Site) -> None:
    limit(5)
    assert ask("alice", 5) == 5
    path = "/places/cscs/batch of alice"
    assert site.client.delete(path, headers=proof("bob")).json() == {"batches": 0}
    assert ask("bob", 5) == 0
    assert site.client.delete(path, headers=proof("alice")).json() == {"batches": 1}
    assert ask("bob", 5) == 5


def test_nothing_is_kept_free_for_a_batch_that_is_silent(limit: Any, ask: Ask, database: Database) -> None:
    limit(4)
    assert ask("alice", 4) == 4
    assert ask("bob", 9) == 0
    later(database, WAITING * 2)
    assert ask("carol", 9) == 0
    assert ask("alice", 9, active=2) == 0  # these two are carol's, bob has none of them
    assert ask("carol", 9) == 2


def test_a_batch_that_was_silent_for_long_has_no_places(limit: Any, ask: Ask, database: Database) -> None:
    limit(4)
    assert ask("alice", 4) == 4
    later(database, BELIEVED * 2)
    assert ask("bob", 9) == 4


def test_only_tasks_ask_and_only_for_their_own(limit: Any, ask: Ask, site: Site) -> None:
    limit(4)
    body = {"facility": "cscs", "batch": "b", "experiment": "ctao", "active": 0, "waiting": 1}
    assert site.client.post("/places", json=body).status_code == 401
    assert site.client.delete("/places/cscs/b").status_code == 401
    assert ask("alice", 1, batch="b") == 1
    assert site.client.post("/places", json=body, headers=proof("bob")).status_code == 403


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"facility": "moon"}, 404), ({"waiting": -1}, 400), ({"active": "x"}, 400), ({"batch": ""}, 400)],
)
def test_bad_questions_are_refused(site: Site, changed: dict[str, Any], code: int) -> None:
    body = {"facility": "cscs", "batch": "b", "experiment": "ctao", "active": 0, "waiting": 1, **changed}
    assert site.client.post("/places", json=body, headers=proof("alice")).status_code == code


def test_the_configuration_has_the_facilities() -> None:
    assert {f.name for f in load_facilities(config_dir() / "facilities.yaml")} >= {"cscs"}
