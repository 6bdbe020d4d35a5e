"""Whose runs, and which DAGs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access import people, rights
from access.rights import changeable_owners, dag_role, runs_of, visible_owners
from access.users import EsapUser, service_user
from esap_batch.identity import Role

Users = Callable[[str], EsapUser]


class NoRows:
    def execute(self, _: Any) -> list[Any]:
        return []


@pytest.fixture
def session() -> Any:
    return NoRows()


@pytest.mark.parametrize(
    ("name", "seen", "changed"),
    [
        ("alice", {"alice"}, {"alice"}),
        ("bob", {"bob", "erin"}, {"bob"}),
        ("dave", {"dave"}, {"dave"}),
        ("gail", {"gail"}, {"gail"}),
        ("olga", {"olga", "alice", "bob", "erin"}, {"olga", "alice", "bob", "erin"}),
    ],
)
def test_whose_runs(user: Users, session: Any, name: str, seen: set[str], changed: set[str]) -> None:
    assert visible_owners(session, user(name)) == seen
    assert changeable_owners(session, user(name)) == changed


def test_administrators_and_the_service_see_all(user: Users, session: Any) -> None:
    for one in (user("carol"), service_user()):
        assert visible_owners(session, one) is None
        assert changeable_owners(session, one) is None


def test_the_groups_of_a_users_last_token_count_more_than_the_file(
    user: Users, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoRows, "execute", lambda *_: [("erin", ["km3net/users"])])
    assert people.groups_by_user(session)["erin"] == {"km3net/users"}
    assert visible_owners(session, user("bob")) == {"bob"}


@pytest.mark.parametrize(
    ("name", "dag", "role"),
    [
        ("alice", "cta_irf", Role.USER),
        ("alice", "km3net_concordia", None),
        ("alice", "housekeeping", None),
        ("alice", "campaign_crab_2026", Role.OP),  # the owner
        ("bob", "campaign_crab_2026", Role.VIEWER),
        ("olga", "campaign_crab_2026", Role.OP),
        ("dave", "campaign_crab_2026", None),
        ("dave", "hello_world", Role.USER),
        ("gail", "cta_irf", Role.VIEWER),
        ("gail", "hello_world", None),
        ("carol", "housekeeping", Role.ADMIN),
    ],
)
def test_what_may_be_done_with_a_dag(user: Users, name: str, dag: str, role: Role | None) -> None:
    assert dag_role(user(name), dag) == role


def test_a_campaigns_runs_belong_to_its_owner(user: Users) -> None:
    def text(owners: set[str]) -> str:
        return str(runs_of(owners).compile(compile_kwargs={"literal_binds": True}))

    assert "dag_run.dag_id IN ('campaign_crab_2026')" in text({"alice"})
    assert "NOT IN ('campaign_crab_2026')" in text({"bob"})
    assert "OR" in text({"bob"})
    assert "1 != 1" in text({"bob"}).rsplit("OR", 1)[1], "none of the campaigns is bob's"
    assert str(runs_of(None)) == "true"


def test_the_portals_own_queries_get_the_same_condition(user: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "visible_owners", lambda _, one: {one.name})
    condition = rights.visible_runs(user("alice")).compile(compile_kwargs={"literal_binds": True})
    assert "dag_run.triggering_user_name IN ('alice')" in str(condition)
