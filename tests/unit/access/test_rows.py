"""Statements of a request, on a real schema of Airflow's in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.utils.state import DagRunState
from sqlalchemy import create_engine, delete, func, select, text, update
from sqlalchemy.orm import Session, aliased

from access.callers import Caller, serving
from access.rights import reach_of
from access.rows import RowsRefused, guard_rows
from access.users import EsapUser

Users = Callable[[str], EsapUser]
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun

    import_all_models()
    made = create_engine("sqlite://")
    Base.metadata.create_all(made)
    guard_rows()
    with Session(made) as session:
        session.add(DagBundleModel(name="dags"))
        session.add(DagModel(dag_id="cta_irf", bundle_name="dags", fileloc="f", is_stale=False))
        for owner in ("alice", "bob", "erin"):
            run = DagRun(dag_id="cta_irf", run_id=f"of-{owner}", run_after=NOW, run_type="manual",
                         state=DagRunState.RUNNING, triggering_user_name=owner)  # fmt: skip
            session.add(run)
        session.commit()
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Any) -> Iterator[Session]:
    with Session(engine) as made:
        yield made
        made.rollback()


@pytest.fixture
def caller(user: Users) -> Callable[..., Caller]:
    def make(name: str | None, changes: bool = False, owners: set[str] | None = None) -> Caller:
        who = Caller(changes)
        if name:
            who.become(user(name))
            who.reach = reach_of(owners or {name})
        return who

    return make


def seen(session: Session, statement: Any) -> list[Any]:
    return sorted(session.scalars(statement), key=str)


def test_every_way_of_asking_finds_the_callers_runs_only(session: Session, caller: Any) -> None:
    from airflow.models.dagrun import DagRun

    other, window = aliased(DagRun), select(DagRun.run_id).limit(10).subquery()
    raw: Any = DagRun.__table__
    with serving(caller("alice")):
        assert [run.run_id for run in session.scalars(select(DagRun))] == ["of-alice"]
        assert seen(session, select(DagRun.run_id)) == ["of-alice"]
        assert seen(session, select(other.run_id)) == ["of-alice"]
        assert seen(session, select(window.c.run_id)) == ["of-alice"]
        assert seen(session, select(raw.c.run_id)) == ["of-alice"]
        assert seen(session, select(raw.c.run_id).where(raw.c.state == "running")) == ["of-alice"]
        assert session.scalar(select(func.count()).select_from(DagRun)) == 1
        assert session.scalar(select(select(DagRun.id).where(DagRun.run_id == "of-bob").exists())) is False
        assert session.get(DagRun, session.scalar(select(DagRun.id))) is not None


def test_airflows_own_count_beside_the_orm_counts_the_callers_runs_only(
    session: Session, caller: Any
) -> None:
    from airflow.api_fastapi.common.db.dag_runs import dagruns_select_with_state_count

    with serving(caller("alice")):
        assert [row[-1] for row in session.execute(dagruns_select_with_state_count)] == [1]
    assert [row[-1] for row in session.execute(dagruns_select_with_state_count)] == [3]


def test_an_object_of_another_is_not_got_by_its_key(session: Session, caller: Any) -> None:
    from airflow.models.dagrun import DagRun

    number = session.scalar(select(DagRun.id).where(DagRun.run_id == "of-bob"))
    session.expunge_all()
    with serving(caller("alice")):
        assert session.get(DagRun, number) is None
    with serving(caller("carol")):
        assert session.get(DagRun, number) is not None


def test_changes_reach_what_the_caller_may_change(session: Session, caller: Any) -> None:
    from airflow.models.dagrun import DagRun

    with serving(caller("bob", changes=True, owners={"bob"})):
        session.execute(
            update(DagRun).values(state="failed"), execution_options={"synchronize_session": False}
        )
        session.execute(delete(DagRun).where(DagRun.run_id == "of-erin"))
    found: dict[str, str] = dict(session.execute(select(DagRun.run_id, DagRun.state)).all())
    assert found == {"of-alice": "running", "of-bob": "failed", "of-erin": "running"}


def test_whoever_is_not_known_finds_nothing(session: Session, caller: Any) -> None:
    from airflow.models.dagrun import DagRun

    with serving(caller(None)):
        assert seen(session, select(DagRun.run_id)) == []
        assert session.scalar(select(func.count()).select_from(DagRun)) == 0


def test_what_nobody_has_asked_for_and_administrators_see_all(session: Session, caller: Any) -> None:
    from airflow.models.dagrun import DagRun

    everything = ["of-alice", "of-bob", "of-erin"]
    assert seen(session, select(DagRun.run_id)) == everything
    with serving(caller("carol")):
        assert seen(session, select(DagRun.run_id)) == everything
        with serving(None):
            assert seen(session, select(DagRun.run_id)) == everything


def test_sql_that_cannot_be_limited_is_not_executed(session: Session, caller: Any) -> None:
    from airflow.models.dagrun import DagRun

    raw: Any = DagRun.__table__
    with serving(caller("alice")):
        for statement in (
            text("SELECT run_id FROM dag_run"),
            text("SELECT d.dag_id FROM dag AS d, dag_run AS r WHERE r.dag_id = d.dag_id"),
            select(func.count(raw.c.id)),
            raw.update().values(state="failed"),
            raw.delete(),
        ):
            with pytest.raises(RowsRefused):
                session.execute(statement)
        assert session.scalar(text("SELECT count(*) FROM dag")) == 1


def test_a_request_of_one_user_does_not_keep_the_conditions_of_another(session: Session, caller: Any) -> None:
    """SQLAlchemy keeps compiled statements: who asks must not be among what is kept."""
    from airflow.models.dagrun import DagRun

    for name in ("alice", "bob", "alice", "erin"):
        with serving(caller(name)):
            assert seen(session, select(DagRun.run_id)) == [f"of-{name}"]


def test_a_caller_who_becomes_somebody_else_is_limited_anew(
    session: Session, caller: Any, user: Users
) -> None:
    """A bearer token wins over the cookie that was looked at before."""
    from airflow.models.dagrun import DagRun

    who = caller("alice")
    with serving(who):
        assert seen(session, select(DagRun.run_id)) == ["of-alice"]
        who.become(user("bob"))
        who.reach = reach_of({"bob"})
        assert seen(session, select(DagRun.run_id)) == ["of-bob"]


@pytest.mark.parametrize("looking", ["auto", "fetch", "evaluate", False])
def test_a_change_of_many_rows_reaches_the_callers_only_however_it_looks_for_them(
    session: Session, caller: Any, looking: Any
) -> None:
    from airflow.models.dagrun import DagRun

    change = update(DagRun).where(DagRun.dag_id == "cta_irf", DagRun.run_id.in_(select(DagRun.run_id)))
    with serving(caller("alice", changes=True)):
        session.execute(change.values(updated_at=NOW), execution_options={"synchronize_session": looking})
    changed = session.scalars(select(DagRun.run_id).where(DagRun.updated_at == NOW))
    assert list(changed) == ["of-alice"]
