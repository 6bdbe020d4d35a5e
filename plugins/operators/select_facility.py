"""Chooses where the jobs run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from operators.site import identity_of, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class SelectFacility(BaseOperator):
    """Matches what the jobs need with what the facilities of config/facilities.yaml offer.

    :param steering: what `ValidateRequest` gives.
    :param requirements: the use case's function from steering and identity to `Requirements`.
    :returns: `{"facility", "reasons", "rejected": {facility: [reason, ...]}}`.
    """

    template_fields = ("steering",)

    def __init__(self, *, steering: Any, requirements: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.requirements = requirements

    def execute(self, context: Context) -> dict[str, Any]:
        from esap_batch.facilities import load_facilities
        from esap_batch.matching import NoFacilityFits, match
        from hooks.settings import config_dir

        needs = self.requirements(self.steering, identity_of(owner_of(context)))
        try:
            found = match(needs, load_facilities(config_dir() / "facilities.yaml"), load={})
        except NoFacilityFits as error:
            raise AirflowFailException(str(error)) from None
        best = found.ranked[0]
        self.log.info("%s: %s", best.facility.title, "; ".join(best.reasons))
        for name, reasons in found.rejected.items():
            self.log.info("not %s: %s", name, "; ".join(reasons))
        rejected = {name: list(reasons) for name, reasons in found.rejected.items()}
        return {"facility": best.facility.name, "reasons": list(best.reasons), "rejected": rejected}
