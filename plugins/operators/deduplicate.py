"""Makes sure that equal requests make one product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import DownstreamTasksSkipped

from esap_batch.products import (
    ClaimAction,
    ClaimDecision,
    claim_metadata,
    decide_claim,
    incomplete,
    newest_open,
)
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION
from operators.progress import tell
from operators.runs import run_state
from operators.site import parts_of, run_key
from triggers.runs import RunEnded

if TYPE_CHECKING:
    from airflow.sdk import Context


class ClaimProduct(BaseOperator):
    """Claims the product of a request in the lake, or ends the run with the product that is there.

    While another run makes the same product this one waits for it in the triggerer, and takes the claim
    over if that run fails.

    :param steering: what `ValidateRequest` gives.
    :param force: make a new generation of the product even if one is there.
    :returns: `{"dataset", "production_id", "made_by", "state"}`; `made_by` is the run that makes or made it,
        `state` is claimed or published; of a published one also `missing` and `jobs`: of how many of its jobs
        the outputs are not in it.
    """

    template_fields = ("steering",)

    def __init__(self, *, steering: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering

    def execute(self, context: Context) -> dict[str, str]:
        return self._settle(context)

    def resume(self, context: Context, event: Any) -> dict[str, str]:
        """Look again: the run that this one waited for has ended."""
        self.log.info("the run that makes this product has ended: %s", event)
        return self._settle(context)

    def _settle(self, context: Context) -> dict[str, str]:
        lake, base = RucioLake.from_connection(LAKE_CONNECTION), self.steering["product_lfn"]
        while True:
            decision = self._decide(context, lake, base)
            match decision.action:
                case ClaimAction.USE:
                    self._end_with(context, decision)
                case ClaimAction.WAIT:
                    self._wait_for(context, decision)
                case ClaimAction.CREATE if not lake.claim(decision.dataset, self._metadata(context)):
                    self.log.info("another run was faster with %s, looking again", decision.dataset)
                case _:
                    self.log.info("this run makes %s", decision.dataset)
                    return _product(decision.dataset, run_key(context), "claimed")

    def _decide(self, context: Context, lake: RucioLake, base: str) -> ClaimDecision:
        run = run_key(context)
        claims = lake.claims(base)
        standing = newest_open(claims)
        holder = run_state(context, standing.run) if standing and standing.run != run else None
        force = bool(self.steering["request"].get("force"))
        return decide_claim(base, claims, run, holder, force=force)

    def _metadata(self, context: Context) -> dict[str, Any]:
        return claim_metadata(self.steering, run_key(context))

    def _end_with(self, context: Context, decision: ClaimDecision) -> None:
        counts = {"missing": decision.missing, "jobs": decision.jobs}
        product = _product(decision.dataset, decision.run, "published")
        self.log.info("this product is there already: %s, made by %s", decision.dataset, decision.run)
        if decision.missing:
            self.log.warning("%s", incomplete(decision.dataset, decision.run, **counts))
        context["ti"].xcom_push("return_value", {**product, **counts})
        following = context["task"].get_direct_relatives(upstream=False)
        raise DownstreamTasksSkipped(tasks=[t.task_id for t in following if not t.is_teardown])

    def _wait_for(self, context: Context, decision: ClaimDecision) -> None:
        self.log.info("run %s makes %s: waiting for it", decision.run, decision.dataset)
        tell(context, {"text": f"waits for run {decision.run}, which makes the same product"})
        self.defer(trigger=RunEnded(*parts_of(decision.run)), method_name="resume")


def _product(dataset: str, run: str, state: str) -> dict[str, str]:
    name = dataset.rsplit("/", 1)[-1]
    return {"dataset": dataset, "production_id": name, "made_by": run, "state": state}
