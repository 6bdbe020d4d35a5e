"""Waiting for jobs costs one query a turn, and nothing for clients that have gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from portal.core import watch as module
from portal.core.phases import Phase
from portal.core.watch import MOST_OF_ONE, Watch


class Table:
    """Phases of jobs as the database has them, and the queries for them."""

    def __init__(self, **phases: Phase) -> None:
        self.phases = {int(k[1:]): v for k, v in phases.items()}
        self.queries: list[list[int]] = []
        self.is_away = False

    def __call__(self, job_ids: Sequence[int]) -> dict[int, Phase]:
        self.queries.append(sorted(job_ids))
        if self.is_away:
            raise ConnectionError
        return {k: v for k, v in self.phases.items() if k in job_ids}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    found = Table(j1=Phase.QUEUED, j2=Phase.PENDING)
    monkeypatch.setattr(module, "_phases", found)
    return found


async def turns(table: Table, count: int) -> None:
    until = len(table.queries) + count
    while len(table.queries) < until:
        await asyncio.sleep(0.001)


def test_all_who_wait_are_woken_by_one_query_a_turn(table: Table) -> None:
    async def wait() -> None:
        watch = Watch(turn=0.005)
        waiting = [asyncio.create_task(watch.changed(1, Phase.QUEUED, None, f"u{n}")) for n in range(200)]
        other = asyncio.create_task(watch.changed(2, Phase.PENDING, None, "alice"))
        await turns(table, 3)
        assert not any(w.done() for w in (*waiting, other))
        assert table.queries == [[1, 2]] * len(table.queries)
        table.phases[1] = Phase.EXECUTING
        await asyncio.gather(*waiting)
        assert not other.done()
        del table.phases[2]  # deleted meanwhile
        await other

    asyncio.run(wait())


def test_a_change_before_the_waiting_began_is_not_missed(table: Table) -> None:
    asyncio.run(Watch(turn=0.001).changed(1, Phase.PENDING, None, "alice"))
    assert len(table.queries) == 1


def test_the_time_of_a_client_ends(table: Table) -> None:
    asyncio.run(Watch(turn=3600).changed(1, Phase.QUEUED, 0.01, "alice"))
    assert table.queries == []


def test_clients_that_go_away_are_forgotten(table: Table) -> None:
    async def leave() -> None:
        watch = Watch(turn=0.001)
        waiting = asyncio.create_task(watch.changed(1, Phase.QUEUED, None, "alice"))
        await turns(table, 1)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert watch._task is not None
        await watch._task  # nobody waits, so nothing asks any more
        assert (watch._waiting, watch._known) == ({}, {})

    asyncio.run(leave())


def test_one_user_does_not_keep_all_connections(table: Table) -> None:
    async def wait() -> None:
        watch = Watch(turn=0.001)
        waiting = [
            asyncio.create_task(watch.changed(1, Phase.QUEUED, None, "alice")) for _ in range(MOST_OF_ONE)
        ]
        await turns(table, 1)
        await watch.changed(1, Phase.QUEUED, None, "alice")
        other = asyncio.create_task(watch.changed(1, Phase.QUEUED, None, "bob"))
        await turns(table, 2)
        assert not any(w.done() for w in (*waiting, other))
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        waiting[0] = asyncio.create_task(watch.changed(1, Phase.QUEUED, None, "alice"))
        await turns(table, 2)
        assert not waiting[0].done()
        table.phases[1] = Phase.EXECUTING
        await asyncio.gather(*waiting, other)

    asyncio.run(wait())


def test_a_database_that_is_away_is_asked_again(table: Table) -> None:
    async def wait() -> None:
        table.is_away = True
        waiting = asyncio.create_task(Watch(turn=0.001).changed(1, Phase.QUEUED, None, "alice"))
        await turns(table, 2)
        table.is_away, table.phases[1] = False, Phase.COMPLETED
        await waiting

    asyncio.run(wait())
