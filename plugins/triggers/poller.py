"""One poll a back end and identity, however many tasks wait for it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Generic, TypeVar

from esap_batch.metrics import POLLS
from hooks.metrics import timed

Answer = TypeVar("Answer")
THREADS = 2  # for a connection, however many users poll there


class BulkPoller(Generic[Answer]):
    """Asks one question for all keys that somebody waits for, once per interval.

    `ask` blocks, so it runs in a thread of its connection's: one that hangs keeps nobody from news of others.
    Its exceptions are answers too: each waiter decides for itself how long it bears with a back end that is
    down. `what` it asks for and at which `connection` is measured.
    """

    _standing: ClassVar[dict[Hashable, BulkPoller[Any]]] = {}

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Mapping[str, Answer]],
        interval: float,
        what: str = "",
        connection: str = "",
    ) -> None:
        self._ask = ask
        self._interval = interval
        self._labels = {"what": what, "connection": connection}
        self._waiting: dict[str, set[asyncio.Queue[Answer | Exception]]] = {}
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def shared(
        cls,
        identity: Hashable,
        ask: Callable[[Sequence[str]], Mapping[str, Answer]],
        interval: float,
        what: str = "",
        connection: str = "",
    ) -> BulkPoller[Answer]:
        """Give the poller of this identity in the running event loop, a new one where there is none.

        It goes on with the newest `ask`, which knows the connection as it is now.
        """
        key = (id(asyncio.get_running_loop()), identity)
        poller = cls._standing.setdefault(key, cls(ask, interval, what, connection))
        poller._ask, poller._interval = ask, interval
        return poller

    async def answers(self, key: str) -> AsyncIterator[Answer | Exception]:
        """Give the answers for one key from now on; the newest only, when the caller is slow."""
        box: asyncio.Queue[Answer | Exception] = asyncio.Queue(maxsize=1)
        self._waiting.setdefault(key, set()).add(box)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(), name="bulk poller")
        try:
            while True:
                yield await box.get()
        finally:
            self._waiting[key].discard(box)
            if not self._waiting[key]:
                del self._waiting[key]
            if not self._waiting:
                self._retire()

    def _retire(self) -> None:
        """Let nobody find it any more."""
        for key in [key for key, poller in self._standing.items() if poller is self]:
            del self._standing[key]

    async def _poll(self) -> None:
        while keys := list(self._waiting):
            found = await self._answer(keys)
            for key in keys:
                answer = found if isinstance(found, Exception) else found[key]
                for box in self._waiting.get(key, ()):
                    _replace(box, answer)
            await asyncio.sleep(self._interval)

    async def _answer(self, keys: Sequence[str]) -> Mapping[str, Answer] | Exception:
        with timed(POLLS, **self._labels, outcome="silent") as labels:
            try:
                ask = functools.partial(contextvars.copy_context().run, self._ask, keys)
                threads = threads_of(self._labels["connection"])
                found = await asyncio.get_running_loop().run_in_executor(threads, ask)
            except Exception as error:
                return error
            labels["outcome"] = "ok"
            return found


@functools.cache
def threads_of(connection: str) -> ThreadPoolExecutor:
    """Give the threads that polls of one connection run in."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"poll {connection}")


def _replace(box: asyncio.Queue[Answer], answer: Answer) -> None:
    if box.full():
        box.get_nowait()
    box.put_nowait(answer)
