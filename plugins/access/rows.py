"""Limits every query of a request to the rows of runs that its caller may see.

Airflow's authorisation ends at the DAG: who may see a DAG sees everybody's runs of it. Here every statement
of a request, whichever route makes it, gets a condition on each table that tells of runs. Reading is limited
to runs that the caller may see, changing to runs that the caller may change. Statements of a request whose
caller is not known find nothing. What no person has asked for (`access.callers`) is not limited.

SQLAlchemy puts the conditions wherever the ORM's models are used. What names a table beside the ORM gets the
allowed rows in place of the table. Then the SQL itself is looked at, and refused where a condition lacks.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Select, Table, event, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.sql import visitors
from sqlalchemy.sql.util import ClauseAdapter

from access.callers import Caller, caller, serving
from access.conditions import RUN, TASK, models, rules
from access.rights import changeable_owners, reach_of, visible_owners

if TYPE_CHECKING:
    from sqlalchemy.orm.util import LoaderCriteriaOption

# A table in SQL that is read, and its alias: after FROM or JOIN, or one of several after FROM.
_PLACE = re.compile(r'(?:\bFROM|\bJOIN|,)\s+"?(\w+)"?(?:\s+AS\s+"?(\w+)"?)?(?![\w.])')
_READS = ("SELECT", "WITH", "(")


class RowsRefused(Exception):  # noqa: N818 - says what happened
    """A statement of a request that is not limited as it must be, and so is not executed."""


def guard_rows() -> None:
    """Begin to limit the queries of this process."""
    if not event.contains(Session, "do_orm_execute", _limit):
        event.listen(Session, "do_orm_execute", _limit)
        event.listen(Engine, "before_cursor_execute", _check)


def _limited() -> Caller | None:
    """Give the caller whose statements are limited; None where they are not."""
    who = caller()
    return None if who is None or (who.user and who.user.identity.is_admin) else who


def _limit(state: ORMExecuteState) -> None:
    """Add the conditions to a statement that is about to be executed."""
    who = _limited()
    if who is None or state.is_insert:
        return
    statement: Any = state.statement
    limited, named = _tables_of(statement)
    if not limited:
        return
    _find_reach(who)
    if state.is_select:
        statement = _with_allowed_rows(statement, named)
    elif _changes_beside_the_orm(state):
        raise RowsRefused(f"a change of {statement.table.name} beside the ORM: {statement}")
    elif state.execution_options.get("synchronize_session") == "evaluate":
        state.update_execution_options(synchronize_session="auto")  # our conditions need the database
    state.statement = statement.options(*_options(limited)) if state.is_orm_statement else statement


def _with_allowed_rows(statement: Any, names: set[str]) -> Any:
    """Put the allowed rows in the place of tables that a statement names beside the ORM."""
    if not names:
        return statement
    # Options cannot be traversed: an update that looks for its rows first hands its own, and ours, to that.
    options, statement = statement._with_options, statement._clone()
    statement._with_options = ()
    for name in names:
        statement = ClauseAdapter(_allowed_rows(name)).traverse(statement)
    return statement.options(*options)


def _find_reach(who: Caller) -> None:
    if who.user is None or who.reach:
        return
    from airflow.utils.session import create_session

    find = changeable_owners if who.changes else visible_owners
    # Not the thread's session: that may be the one whose statement is being limited.
    with serving(None), create_session(scoped=False) as session:
        owners = find(session, who.user)
    assert owners is not None, "administrators are not limited"
    who.reach = reach_of(owners)


def _tables_of(statement: Any) -> tuple[frozenset[str], set[str]]:
    """Name the limited tables that a statement may reach, and those of them that it reads beside the ORM.

    Conditions on the ORM's models do not reach the latter: their columns are no model's attributes.
    """
    reached, named = set[str](), set[str]()
    for element in visitors.iterate(statement):
        if isinstance(element, Table):
            reached |= _eager().get(element.name, {element.name})
        elif isinstance(element, Select):
            columns: list[Any] = element._raw_columns
            named |= {column.table.name for column in columns if _is_of_a_table(column)}
    if getattr(statement, "_with_options", ()):  # joinedload() and the like may reach any
        reached |= models().keys()
    return frozenset(reached & models().keys()), named & models().keys()


def _is_of_a_table(column: Any) -> bool:
    return (
        isinstance(column, Column)
        and isinstance(column.table, Table)
        and "parententity" not in column._annotations
    )


@cache
def _eager() -> dict[str, set[str]]:
    """Give for each mapped table the tables that SQLAlchemy joins to it unasked, itself included."""
    from airflow.models.base import Base

    joined: dict[str, set[str]] = {}
    for mapper in Base.registry.mappers:
        found = {r.mapper.local_table.name for r in mapper.relationships if r.lazy in ("joined", False)}
        joined.setdefault(mapper.local_table.name, {mapper.local_table.name}).update(found)
    for _ in joined:  # as often as the longest way can have steps
        for found in joined.values():
            found |= {name for one in list(found) for name in joined.get(one, ())}
    return joined


def _changes_beside_the_orm(state: ORMExecuteState) -> bool:
    if state.is_orm_statement or not (state.is_update or state.is_delete):
        return False
    statement: Any = state.statement
    return statement.table.name in models()


def _check(_: Any, __: Any, statement: str, *___: Any) -> None:
    """Stop a query that reads a limited table somewhere without a condition of its own."""
    if _limited() is None or not statement.lstrip().startswith(_READS):
        return
    for (name, alias), times in Counter(_PLACE.findall(statement)).items():
        if name in models() and alias not in (RUN, TASK):
            mark = rules()[models()[name]].mark.format(alias or name)
            if statement.count(mark) < times:
                raise RowsRefused(f"a query of {name} without the caller's condition: {statement}")


@cache
def _allowed_rows(name: str) -> Any:
    """Give what stands for a table: its rows that are allowed, under its name."""
    model = models()[name]
    return select(model.__table__).where(rules()[model].condition).subquery(name)


@cache
def _option(name: str) -> LoaderCriteriaOption:
    model = models()[name]
    return with_loader_criteria(model, rules()[model].condition, include_aliases=True)


@cache
def _options(names: frozenset[str]) -> tuple[LoaderCriteriaOption, ...]:
    return tuple(_option(name) for name in sorted(names))
