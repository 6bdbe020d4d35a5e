"""Which DAGs a user may see and run, and whose runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from access.callers import Reach
from access.people import groups_by_user
from access.settings import campaigns, identities
from esap_batch.identity import Role

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from access.users import EsapUser


def visible_owners(session: Session, user: EsapUser) -> Collection[str] | None:
    """Name those whose runs a user may see; None for everybody's, which is what administrators see."""
    if user.identity.is_admin:
        return None
    sharing, answered = user.identity.sharing, _answered_groups(user)
    return {user.name} | _members(session, sharing | answered)


def changeable_owners(session: Session, user: EsapUser) -> Collection[str] | None:
    """Name those whose runs a user may end, clear, answer for and delete: sharing is for reading only."""
    if user.identity.is_admin:
        return None
    return {user.name} | _members(session, _answered_groups(user))


def _answered_groups(user: EsapUser) -> frozenset[str]:
    """The groups of the experiments that the user operates."""
    operated = user.identity.operated
    return frozenset(g.name for g in identities().groups.values() if operated & g.experiments)


def _members(session: Session, groups: frozenset[str]) -> set[str]:
    if not groups:
        return set()
    return {name for name, own in groups_by_user(session).items() if own & groups}


def runs_of(owners: Collection[str] | None) -> ColumnElement[bool]:
    """Give the condition on DagRun that a run belongs to one of `owners`; None is everybody."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import true

    if owners is None:
        return true()
    reach = reach_of(owners)
    return owned(DagRun, reach.owners, reach.every_campaign, reach.own_campaigns)


def reach_of(owners: Collection[str]) -> Reach:
    """Say which runs are those of `owners`."""
    known = campaigns()
    own = sorted(dag_id for dag_id, campaign in known.items() if campaign.owner in owners)
    return Reach(sorted(owners), sorted(known), own)


def owned(columns: Any, owners: Any, every_campaign: Any, own_campaigns: Any) -> ColumnElement[bool]:
    """Give the condition on DagRun, or an alias of it, with values or parameters for them.

    A campaign's runs belong to its owner, whoever started them; every other run to who started it.
    """
    from sqlalchemy import and_, or_

    started = and_(columns.triggering_user_name.in_(owners), columns.dag_id.not_in(every_campaign))
    return or_(started, columns.dag_id.in_(own_campaigns))


def visible_runs(user: EsapUser) -> ColumnElement[bool]:
    """Give the condition on DagRun that the user may see the run, for queries of the portal's own."""
    from airflow.utils.session import create_session

    with create_session() as session:
        return runs_of(visible_owners(session, user))


def dag_role(user: EsapUser, dag_id: str) -> Role | None:
    """Give what a user may do with a DAG; None for nothing, which holds for DAGs of no workflow.

    A campaign has the rights of its workflow, but only its owner and those who operate it may do more
    than read.
    """
    if user.identity.is_admin:
        return Role.ADMIN
    campaign = campaigns().get(dag_id)
    role = user.identity.role_for(campaign.workflow if campaign else dag_id)
    if campaign is None or role is None:
        return role
    if campaign.owner == user.name and role >= Role.USER:
        return Role.OP  # may pause and resume it
    return role if role >= Role.OP else Role.VIEWER
