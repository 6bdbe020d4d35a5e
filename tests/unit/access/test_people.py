"""Whose name is whose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi import HTTPException
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session

from access import people
from access.people import groups_by_user, remember
from access.users import EsapUser
from store.tables import Table, User

Users = Callable[[str], EsapUser]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = create_engine("sqlite://")
    Table.metadata.create_all(made)

    @contextmanager
    def transaction() -> Iterator[Session]:
        with Session(made) as session, session.begin():
            yield session

    monkeypatch.setattr(people, "transaction", transaction)
    monkeypatch.setattr(people, "_remembered", {})
    yield made
    made.dispose()


def rows(engine: Any) -> dict[str, User]:
    with Session(engine) as session:
        return {row.name: row for row in session.scalars(select(User))}


def test_a_user_is_written_once_and_again_when_the_groups_change(engine: Any, user: Users) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    bob = user("bob")
    for _ in range(5):
        remember(bob)
    assert len(statements) == 2, "one look, one insert"
    assert rows(engine)["bob"].groups == ["ctao/users", "ctao/pair"]
    remember(replace(bob, identity=user("alice").identity))
    assert rows(engine)["bob"].groups == ["ctao/users"]


def test_a_name_is_not_given_to_another_account(engine: Any, user: Users) -> None:
    alice = user("alice")
    remember(alice)
    for other in (replace(alice, subject="sub-mallory"), replace(alice, issuer="https://other.test")):
        with pytest.raises(HTTPException) as refusal:
            remember(other)
        assert refusal.value.status_code == 403
    assert rows(engine)["alice"].subject == "sub-alice"
    remember(alice)


def test_who_is_in_no_group_any_more_has_none(engine: Any, user: Users) -> None:
    bob = user("bob")
    remember(bob)
    people.forget_groups("bob", bob.issuer, "sub-mallory")
    assert rows(engine)["bob"].groups == ["ctao/users", "ctao/pair"]
    people.forget_groups("bob", bob.issuer, bob.subject)
    with Session(engine) as session:
        assert groups_by_user(session)["bob"] == frozenset()
    remember(bob)
    assert rows(engine)["bob"].groups == ["ctao/users", "ctao/pair"], "they are a member again"


def test_groups_come_from_the_last_token_or_else_from_the_file(engine: Any, user: Users) -> None:
    remember(replace(user("alice"), identity=user("dave").identity))
    with Session(engine) as session:
        found = groups_by_user(session)
    assert found["alice"] == {"km3net/users"}
    assert found["erin"] == {"ctao/users", "ctao/pair"}
