from __future__ import annotations

import pytest

from esap_batch.housekeeping import DAY_S, Leftover, reason_to_keep
from esap_batch.products import RunState

NOW, RUN = 100 * DAY_S, "hello_world/r1"


@pytest.mark.parametrize(
    ("leftover", "holder", "reason"),
    [
        (Leftover("p", RUN, NOW - 15 * DAY_S), RunState.ENDED, ""),
        (Leftover("p", RUN, NOW - 14 * DAY_S), RunState.ENDED, ""),
        (Leftover("p", RUN, NOW - 13 * DAY_S), RunState.ENDED, "changed 13.0 days ago, kept for 14"),
        (Leftover("p", RUN, NOW + 60), RunState.ENDED, "changed -0.0 days ago"),
        (Leftover("p", RUN, 0), RunState.ALIVE, "run hello_world/r1 is alive"),
        (Leftover("p", "", 0), RunState.ENDED, "nobody knows whose it is"),
        (Leftover("p", RUN, 0, registered=3), RunState.ENDED, "3 files of it are registered"),
    ],
)
def test_only_what_is_old_unregistered_and_of_a_run_that_has_ended_may_go(
    leftover: Leftover, holder: RunState, reason: str
) -> None:
    told = reason_to_keep(leftover, holder, NOW, 14)
    assert told.startswith(reason)
    assert bool(told) == bool(reason)
