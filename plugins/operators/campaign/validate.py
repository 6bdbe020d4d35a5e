"""First task of a campaign's run: the request comes from the campaign's file, not from who triggers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from esap_batch.campaigns import Campaign
from operators.site import identity_of
from operators.validate import ValidateRequest

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.request import CrossCheck

FROM_CONF = ("dry_run", "retry_failed")


class ValidateCampaign(ValidateRequest):
    """Checks the request of a campaign's file as that of its owner.

    Only the owner and administrators may trigger it by hand, and change nothing but `FROM_CONF`.

    :param campaign: the campaign. :param check: the use case's checks across fields.
    :returns: as `ValidateRequest`, with the campaign's name, budget and settings in `campaign`.
    """

    def __init__(self, *, campaign: Campaign, check: CrossCheck, **kwargs: Any) -> None:
        super().__init__(workflow=campaign.workflow, check=check, **kwargs)
        self.campaign = campaign

    def execute(self, context: Context) -> dict[str, Any]:
        self._require_right(context["dag_run"].triggering_user_name)
        steering = super().execute(context)
        settings = {"name": self.campaign.name, "budget_bytes": self.campaign.budget_bytes,
                    "priority": self.campaign.priority, **self.campaign.settings}  # fmt: skip
        return {**steering, "campaign": {**steering["campaign"], **settings}}

    def owner_of(self, context: Context) -> str | None:
        """Name the campaign's owner: for all that follows they stand in the steering file."""
        return self.campaign.owner

    def request_of(self, context: Context) -> dict[str, Any]:
        """Give the campaign's request, with the few things that a trigger may decide."""
        conf = context["dag_run"].conf or {}
        return {**self.campaign.request, **{k: conf[k] for k in FROM_CONF if k in conf}}

    def _require_right(self, user: str | None) -> None:
        """Refuse everybody but the scheduler, the owner, and administrators."""
        if user in (None, self.campaign.owner):
            return
        try:
            if identity_of(user).is_admin:
                return
        except PermissionError as refusal:
            raise AirflowFailException(str(refusal)) from None
        raise AirflowFailException(
            f"user {user} may not run campaign {self.campaign.name}: allowed are its owner "
            f"{self.campaign.owner} and administrators"
        )
