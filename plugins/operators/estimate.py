"""How much is to be computed, and a person's word where it is much."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

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

    Rejecting fails the run, so that nothing is submitted. An answer within a second of the question
    makes Airflow 3.3 ask again: its scheduler takes the task that goes on for a lost one.
    """

    template_fields = ("subject", "body", "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(fail_on_reject=True, **kwargs)
        self.plan = plan

    def execute(self, context: Context) -> Any:
        if not self.plan["needs_confirmation"]:
            self.log.info("no confirmation needed")
            return None
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on when somebody has answered; a no is final, so that Airflow does not ask again."""
        try:
            return super().execute_complete(context, event)
        except HITLRejectException:
            who = (event.get("responded_by_user") or {}).get("name", "somebody")
            raise AirflowFailException(f"{who} rejected this production: nothing is submitted") from None
