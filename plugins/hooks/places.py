"""Places at facilities that take a limited number of jobs of all users together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from airflow.sdk.exceptions import AirflowFailException

from hooks.broker import BROKER_CONNECTION, Broker

if TYPE_CHECKING:
    from esap_batch.facilities import Facility
    from esap_batch.identity import Identity


class PlacesRef(TypedDict):
    """What a trigger carries to ask for places: no secrets."""

    facility: str
    experiment: str
    user: str


def places_ref(facility: Facility, identity: Identity) -> PlacesRef | None:
    """Say how to ask for places of a facility; None where their number is not limited."""
    if facility.limits.max_active_jobs is None:
        return None
    experiment = min(facility.experiments & identity.experiments, default="")
    return {"facility": facility.name, "experiment": experiment, "user": identity.user}


@dataclass(frozen=True)
class Places:
    """The places of a batch at a facility."""

    broker: Broker
    ref: PlacesRef
    batch: str

    @classmethod
    def of(cls, ref: PlacesRef | None, batch: str) -> Places | None:
        """Open them from a task; None where their number is not limited."""
        return ref and cls._with(Broker.standing(), ref, batch)

    @classmethod
    async def aof(cls, ref: PlacesRef | None, batch: str) -> Places | None:
        """Open them from a trigger."""
        return ref and cls._with(await Broker.astanding(), ref, batch)

    @classmethod
    def _with(cls, broker: Broker | None, ref: PlacesRef, batch: str) -> Places:
        if broker is None:
            raise AirflowFailException(
                f"facility {ref['facility']} has max_active_jobs: it needs the connection {BROKER_CONNECTION}"
            )
        return cls(broker, ref, batch)

    def ask(self, active: int, waiting: int) -> int:
        """Tell how many jobs wait or run at the facility; take places for those that may be submitted now."""
        return self._ask(active, waiting, look=False)

    def look(self, active: int, waiting: int) -> int:
        """Tell the same; give how many places there are now, and leave them to whoever asks first."""
        return self._ask(active, waiting, look=True)

    def _ask(self, active: int, waiting: int, *, look: bool) -> int:
        at = self.ref
        return self.broker.places(
            at["facility"],
            self.batch,
            at["user"],
            at["experiment"],
            active=active,
            waiting=waiting,
            look=look,
        )

    def give_back(self) -> None:
        """Say that the batch is over."""
        self.broker.give_back(self.ref["facility"], self.batch, self.ref["user"])
