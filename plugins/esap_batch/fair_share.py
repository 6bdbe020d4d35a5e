"""Who may submit how many jobs now, where more are asked for than a facility takes (`max_active_jobs`).

Each user of each experiment, a holder, has a fair share of the places: weighted max-min fairness. Nobody's
share is more than they can use or, as long as there are places enough, less than one job; the rest goes to
the others by their weights. A free place goes to the holder who is furthest below their share. Running jobs
are never stopped, so shares are reached as jobs end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HALVINGS = 100  # of the interval that has the level of the shares: beyond the precision of a float


@dataclass(frozen=True, order=True)
class Holder:
    """Somebody whose jobs share places with those of others."""

    experiment: str
    user: str


@dataclass(frozen=True)
class Claim:
    """What a holder has and wants. `active` jobs wait or run at the facility, `waiting` are not submitted.

    `since` is when (Unix time) the holder was last given a place, or began to wait if that was later.
    """

    holder: Holder
    active: int
    waiting: int
    since: float = 0.0

    @property
    def wanted(self) -> int:
        return self.active + self.waiting


def shares(limit: int, claims: Sequence[Claim], weights: Mapping[str, float]) -> dict[Holder, float]:
    """Divide `limit` places, or fewer when fewer are wanted, among holders.

    :param weights: of experiments, 1 for one not named; the users of an experiment share its weight equally.
    """
    wanting = sorted((c for c in claims if c.wanted), key=lambda c: (c.active == 0, c.since, c.holder))
    served = wanting[:limit]  # with more holders than places they take turns
    users = Counter(c.holder.experiment for c in served)
    weight = {c.holder: weights.get(c.holder.experiment, 1.0) / users[c.holder.experiment] for c in served}
    places = min(limit, sum(c.wanted for c in served))

    def at(level: float) -> dict[Holder, float]:
        return {c.holder: min(max(1.0, level * weight[c.holder]), float(c.wanted)) for c in served}

    low, high = 0.0, limit / min(weight.values(), default=1.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(at(middle).values()) > places else (middle, high)
    return {c.holder: 0.0 for c in claims} | at(low)


def grants(limit: int, claims: Sequence[Claim], weights: Mapping[str, float]) -> dict[Holder, int]:
    """Say how many jobs each holder may submit now. All free places are given as long as anybody waits."""
    goal = shares(limit, claims, weights)
    given = dict.fromkeys(goal, 0)
    for _ in range(limit - sum(c.active for c in claims)):
        waiting = [c for c in claims if c.waiting > given[c.holder]]
        if not waiting:
            break
        next_one = min(
            waiting,
            key=lambda c: (c.active + given[c.holder] - goal[c.holder], c.since, c.holder),
        )
        given[next_one.holder] += 1
    return given
