"""How much is to be computed, and a person's word where it is much."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.triggers.hitl import HITLTrigger
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

if TYPE_CHECKING:
    from airflow.sdk import Context


class EstimateWork(BaseOperator):
    """Computes the size of a production from its steering file.

    :param estimate: the use case's function from workflow and steering to a JSON document with
        `needs_confirmation` (bool) and `summary` (text).
    """

    template_fields = ("steering",)

    def __init__(self, *, steering: Any, estimate: Callable[..., dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.estimate = estimate

    def execute(self, context: Context) -> dict[str, Any]:
        from esap_batch.workflows import load_workflow
        from hooks.settings import config_dir

        plan = self.estimate(self.steering, load_workflow(config_dir(), self.steering["workflow"]))
        self.log.info("%s", plan["summary"])
        return plan


class ConfirmWork(ApprovalOperator):
    """Asks a person to approve a plan that needs it; lets any other pass.

    Rejecting fails the run, so that nothing is submitted.

    It waits for the answer in the triggerer. Airflow 3.3 would park it in `awaiting_input` instead, where an
    answer that comes within seconds makes the scheduler take the resumed task for a lost one and ask again.
    """

    template_fields = ("subject", "body", "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(fail_on_reject=True, **kwargs)
        self.plan = plan

    def execute(self, context: Context) -> Any:
        if not self.plan["needs_confirmation"]:
            self.log.info("no confirmation needed")
            return None
        try:
            return super().execute(context)
        except TaskAwaitingInput:
            trigger = HITLTrigger(
                ti_id=context["ti"].id,
                options=self.options,
                params=self.serialized_params,
                multiple=self.multiple,
                defaults=self.defaults,
                timeout_datetime=None,
            )
            self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on when somebody has answered; a no is final, so that Airflow does not ask again."""
        try:
            return super().execute_complete(context, event)
        except HITLRejectException as rejection:
            who = (event.get("responded_by_user") or {}).get("name", "somebody")
            raise AirflowFailException(f"{who} rejected this production: nothing is submitted") from rejection
