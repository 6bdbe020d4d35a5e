from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from hooks import metrics
from triggers.poller import BulkPoller

INTERVAL = 0.01


class Backend:
    """Counts how often it is asked, and for what."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.down = False

    def ask(self, keys: Sequence[str]) -> dict[str, int]:
        self.asked.append(sorted(keys))
        if self.down:
            raise ConnectionError("down")
        return {key: len(self.asked) for key in keys}


async def first(poller: BulkPoller[int], key: str) -> int | Exception:
    answers = poller.answers(key)
    try:
        return await anext(answers)
    finally:
        await answers.aclose()  # type: ignore[attr-defined]


def test_all_that_wait_at_a_time_share_one_question() -> None:
    backend = Backend()

    async def scenario() -> list[int | Exception]:
        poller = BulkPoller(backend.ask, INTERVAL)
        return await asyncio.gather(*(first(poller, f"batch{n}") for n in range(1000)))

    answers = asyncio.run(scenario())
    assert answers == [1] * 1000
    assert len(backend.asked) == 1


def test_back_ends_and_identities_have_pollers_of_their_own() -> None:
    backend = Backend()

    async def scenario() -> None:
        alice = BulkPoller.shared(("dirac", "alice"), backend.ask, INTERVAL)
        assert BulkPoller.shared(("dirac", "alice"), backend.ask, INTERVAL) is alice
        assert BulkPoller.shared(("dirac", "bob"), backend.ask, INTERVAL) is not alice

    asyncio.run(scenario())


def test_who_waits_hears_from_the_connection_as_it_is_now() -> None:
    wrong, mended = Backend(), Backend()
    wrong.down = True

    async def scenario() -> None:
        answers = BulkPoller.shared("dirac", wrong.ask, INTERVAL).answers("a")
        assert isinstance(await anext(answers), ConnectionError)
        BulkPoller.shared("dirac", mended.ask, INTERVAL)
        while isinstance(await anext(answers), Exception):
            pass

    asyncio.run(scenario())
    assert mended.asked


def test_a_poller_that_nobody_waits_at_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BulkPoller, "_standing", {})

    async def scenario() -> None:
        poller = BulkPoller.shared("dirac", Backend().ask, INTERVAL)
        other = poller.answers("b")
        await anext(other)
        await first(poller, "a")
        assert list(BulkPoller._standing.values()) == [poller]
        await other.aclose()  # type: ignore[attr-defined]
        assert BulkPoller._standing == {}

    asyncio.run(scenario())


def test_a_failure_is_told_to_every_waiter_and_the_poll_goes_on() -> None:
    backend = Backend()

    async def scenario() -> None:
        poller = BulkPoller(backend.ask, INTERVAL)
        backend.down = True
        answers = poller.answers("a")
        assert isinstance(await anext(answers), ConnectionError)
        backend.down = False
        while isinstance(answer := await anext(answers), Exception):
            pass
        assert answer > 1

    asyncio.run(scenario())


def test_a_site_that_hangs_keeps_nobody_from_news_of_others() -> None:
    let_go = threading.Event()

    def hang(keys: Sequence[str]) -> dict[str, int]:
        let_go.wait(60)
        return dict.fromkeys(keys, 0)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        hung = [BulkPoller(hang, INTERVAL, connection="hung").answers("a") for _ in range(3)]
        waiting = [asyncio.ensure_future(anext(answers)) for answers in hung]
        await asyncio.sleep(INTERVAL)
        try:
            async with asyncio.timeout(10):
                assert await first(BulkPoller(Backend().ask, INTERVAL, connection="well"), "a") == 1
                assert await asyncio.to_thread(lambda: 7) == 7
        finally:
            let_go.set()
        assert await asyncio.gather(*waiting) == [0, 0, 0]

    asyncio.run(scenario())


def test_a_poll_knows_who_asks() -> None:
    user = contextvars.ContextVar("user", default="")

    async def scenario() -> None:
        user.set("alice")
        assert await first(BulkPoller(lambda keys: {"a": len(user.get())}, INTERVAL), "a") == len("alice")

    asyncio.run(scenario())


def test_the_poll_goes_on_without_monitoring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "statsd.invalid")
    monkeypatch.setattr(metrics, "_sender", metrics._Sender())

    async def scenario() -> None:
        answers = BulkPoller(Backend().ask, INTERVAL).answers("a")
        assert [await anext(answers), await anext(answers)] == [1, 2]

    asyncio.run(scenario())


def test_a_slow_waiter_hears_the_newest_answer_only() -> None:
    backend = Backend()

    async def scenario() -> None:
        poller = BulkPoller(backend.ask, INTERVAL)
        answers = poller.answers("a")
        assert await anext(answers) == 1
        while len(backend.asked) < 5:
            await asyncio.sleep(INTERVAL)
        answer = await anext(answers)
        assert isinstance(answer, int)
        assert answer >= 4

    asyncio.run(scenario())


def test_nobody_is_asked_when_nobody_waits() -> None:
    backend = Backend()

    async def scenario() -> None:
        poller = BulkPoller(backend.ask, INTERVAL)
        await first(poller, "a")
        asked = len(backend.asked)
        await asyncio.sleep(5 * INTERVAL)
        assert len(backend.asked) <= asked + 1
        await first(poller, "b")
        assert backend.asked[-1] == ["b"]

    asyncio.run(scenario())
