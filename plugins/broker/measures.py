"""How the credentials that the service holds stand, in numbers for the operators: nobody's in particular."""

from __future__ import annotations

from collections import Counter, defaultdict

from broker.credentials import states
from esap_batch.metrics import CREDENTIAL_LIFE, CREDENTIALS
from hooks.metrics import gauge
from store.sessions import now

GOOD, ENDED = "good", "ended"
_seen: set[str] = set()  # a system that has lost its last credential is told of with zeros


def measure_credentials() -> None:
    """Send how many credentials are good and how many have ended, and how soon the next one ends."""
    number: dict[str, Counter[str]] = defaultdict(Counter)
    left: dict[str, float] = {}
    for state in states(None):
        number[state.system][GOOD if state.is_good else ENDED] += 1
        if state.is_good and state.expires_at:
            life = (state.expires_at - now()).total_seconds()
            left[state.system] = min(life, left.get(state.system, life))
    _seen.update(number)
    for system in sorted(_seen):
        for standing in (GOOD, ENDED):
            gauge(CREDENTIALS, number[system][standing], system=system, standing=standing)
    for system, life in left.items():
        gauge(CREDENTIAL_LIFE, life, system=system)
