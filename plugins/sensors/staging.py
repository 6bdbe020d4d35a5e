"""Waiting until the inputs are near the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from esap_batch.metrics import STAGED
from hooks.metrics import count
from hooks.settings import LAKE_CONNECTION
from triggers.staging import InputsStaged

if TYPE_CHECKING:
    from airflow.sdk import Context


class AwaitInputs(BaseOperator):
    """Waits in the triggerer until all inputs lie at the facility's storage element.

    :param staged: what `StageInputs` gives.
    :param boosts: how often Rucio is told to try stuck files again at once, before the task fails.
    :param patience: seconds to bear with a lake that does not answer.
    :returns: what `StageInputs` gives, for the task that submits.
    """

    template_fields = ("staged",)

    def __init__(self, *, staged: Any, boosts: int = 3, patience: float = 1800, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.staged = staged
        self.boosts = boosts
        self.patience = patience

    def execute(self, context: Context) -> dict[str, Any]:
        if self.staged["rule"]:
            trigger = InputsStaged(LAKE_CONNECTION, self.staged["rule"], self.boosts, self.patience)
            self.defer(trigger=trigger, method_name="resume")
        self.log.info("the run reads nothing of the lake")
        given: dict[str, Any] = self.staged
        return given

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on when the trigger has fired."""
        if event["status"] == "silent":
            raise AirflowException(event["message"])
        if event["status"] != "staged":
            raise AirflowFailException(
                f"The inputs have not arrived at {self.staged['rse']}: {event['message']} "
                "Clear stage_inputs and what follows to try again."
            )
        self.log.info("%d files are at %s", self.staged["files"], self.staged["rse"])
        count(STAGED, self.staged["bytes"], rse=self.staged["rse"])
        given: dict[str, Any] = self.staged
        return given
