"""Chooses where the jobs run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from hooks.broker import LoginNeeded
from hooks.errors import BackendRefused, RefusedForGood
from operators.site import Site, identity_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.facilities import Facility, Requirements
    from esap_batch.identity import Identity
    from esap_batch.jobs import Load
    from esap_batch.matching import Match


class SelectFacility(BaseOperator):
    """Matches what the jobs need with what the facilities of config/facilities.yaml offer, and are doing now.

    Left out is what the last check (`CheckFacility`) has found out of order, and what does not answer now. If
    nothing else would fit, the silence of a facility is worth another try.

    :param steering: what `ValidateRequest` gives.
    :param requirements: the use case's function from steering and identity to `Requirements`.
    :returns: `{"facility", "storage_rse", "reasons", "rejected": {facility: [reason, ...]},
        "runtimes": [type, ...]}`: the runtimes are those that the workflow accepts and that are there.
    """

    template_fields = ("steering",)

    def __init__(self, *, steering: Any, requirements: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.requirements = requirements

    def execute(self, context: Context) -> dict[str, Any]:
        identity = identity_of(self.steering["owner"])
        needs = self.requirements(self.steering, identity)
        found = self._match(identity, needs)
        best = found.ranked[0]
        self.log.info("%s: %s", best.facility.title, "; ".join(best.reasons))
        for name, reasons in found.rejected.items():
            self.log.info("not %s: %s", name, "; ".join(reasons))
        rejected = {name: list(reasons) for name, reasons in found.rejected.items()}
        return {
            **Site(best.facility.storing_at(needs.storage_rse), identity).where,
            "reasons": list(best.reasons),
            "rejected": rejected,
            "runtimes": [t for t in best.facility.types if not needs.runtimes or t in needs.runtimes],
        }

    def _match(self, identity: Identity, needs: Requirements) -> Match:
        from esap_batch.facilities import load_facilities
        from esap_batch.health import as_found, faults, recent
        from esap_batch.matching import NoFacilityFits, match
        from hooks import facility_health
        from hooks.settings import config_dir

        listed = load_facilities(config_dir() / "facilities.yaml")
        settings = facility_health.check_settings()
        remembered = facility_health.remembered(f.name for f in listed if f.enabled)
        known = recent(remembered, time.time(), settings["trust_s"])
        unhealthy, facilities = faults(known), as_found(listed, known)
        try:
            fitting = [r.facility for r in match(needs, facilities, {}, unhealthy).ranked]
        except NoFacilityFits as error:
            raise AirflowFailException(str(error)) from None
        asked = fitting[:1] if fitting[0].name == needs.preferred else fitting
        load, silent = self._loads(asked, identity, settings["answer_s"])
        try:
            return match(needs, facilities, load, unhealthy | {name: _told(e) for name, e in silent.items()})
        except NoFacilityFits as error:
            if all(isinstance(e, RefusedForGood) for e in silent.values()):
                raise AirflowFailException(str(error)) from None
            raise AirflowException(f"{error}. Nothing is lost: the task is tried again.") from None

    def _loads(
        self, facilities: Sequence[Facility], identity: Identity, within_s: float
    ) -> tuple[dict[str, Load], dict[str, Exception]]:
        """Ask what the facilities are doing; gives that, and what came instead of an answer."""
        from esap_batch.jobs import Load
        from hooks.loads import ask_loads

        load: dict[str, Load] = {}
        silent: dict[str, Exception] = {}
        places = {}
        for one in facilities:
            try:
                places[one.name] = (Site(one, identity).backend, one.site)
            except AirflowException as error:
                silent[one.name] = error
        for name, answer in ask_loads(places, within_s).items():
            if isinstance(answer, Load):
                load[name] = answer
            elif isinstance(answer, LoginNeeded):  # submission will wait for the login
                self.log.warning("%s does not tell what it is doing: %s", name, answer)
            else:
                silent[name] = answer
        return load, silent


def _told(error: Exception) -> str:
    """Say why a facility is left out, without what an error advises for other tasks."""
    word = "does not let the user in" if isinstance(error, BackendRefused) else "does not answer now"
    return f"{word}: {str(error).split('. ', 1)[0]}"
