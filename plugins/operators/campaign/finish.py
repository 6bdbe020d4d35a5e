"""The two last tasks of a campaign's run: nothing stays behind that nobody needs, and what has come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.budget import in_words
from esap_batch.carousel import tally
from esap_batch.products import work_lfn
from hooks.broker import LoginNeeded
from operators.campaign import jobs
from operators.campaign.reserve import budgets, settle
from operators.campaign.work import Work
from operators.results import result_of, task_states
from operators.submission import end_submission

if TYPE_CHECKING:
    from airflow.sdk import Context


class CleanUpCampaign(BaseOperator):
    """Kills jobs, releases recalls, deletes transient files, and gives unused budget back.

    The run's own documents stay until all of its observations are done, so that clearing
    `process_observations` goes on from there.

    :param steering: id of the task that validated the request. :param facility: id of the task that chose the
        facility. :param search: id of the task that searched the lake. :param reserve: id of the task that
        reserved the recall. :param process: id of the task that processed the observations.
    """

    def __init__(
        self,
        *,
        steering: str,
        facility: str,
        search: str,
        reserve: str,
        process: str,
        use_case: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.facility = facility
        self.search = search
        self.reserve = reserve
        self.process = process
        self.use_case = use_case

    def execute(self, context: Context) -> None:
        steering, chosen, plan, reserved = (
            context["ti"].xcom_pull(task_ids=t)
            for t in (self.steering, self.facility, self.search, self.reserve)
        )
        if not chosen or not plan:
            self.log.info("nothing was planned, nothing to clean up")
            return
        work = Work.of(context, steering, chosen, self.use_case, closing=True)
        if reserved and not end_submission(work.site.storage, work.area):
            self.log.warning("%s was killed in the middle of its work", self.process)
        self._stop(work)
        if reserved:
            begun = work.blocks(range(work.state().next_block))
            recalled = tally(begun).recalled
            for budget in budgets(steering, context):
                settle(work.lake, budget.account, work.run, recalled)
            self.log.info("recalled: %s of %s reserved", in_words(recalled), in_words(reserved["bytes"]))
        done = result_of(context, self.process)
        if plan["dry_run"] or (done and not done["failed"]):
            self._delete(work, [work_lfn(work.tag)])

    def _stop(self, work: Work) -> None:
        state = work.state()
        reached = [number for number in state.active if self._stop_block(work, number)]
        for number in reached:
            if late := work.site.backend.cancel(work.group(number)):  # they were being started meanwhile
                self.log.warning("block %d: %d jobs ran on and are killed", number, late)
        places = work.site.places(work.tag)
        if places and len(reached) == len(state.active):
            places.give_back()
        for recall in work.lake.recalls(work.tag):
            work.lake.release(recall.rule_id)
            self.log.info("recall of %s released", recall.dataset)
        self._delete(work, [work_lfn(work.group(n)) for n in range(state.next_block)])

    def _stop_block(self, work: Work, number: int) -> bool:
        """Kill a block's jobs; False when they cannot be reached."""
        try:
            killed = work.site.backend.cancel(work.group(number))
        except LoginNeeded as needed:
            self.log.error("block %d is left: its jobs go on until their own limits: %s", number, needed)
            return False
        jobs.keep(work, number)
        work.site.backend.clean_up(work.group(number))
        self.log.info("block %d: %d jobs killed, reports kept, sandboxes let go", number, killed)
        return True

    def _delete(self, work: Work, lfns: list[str]) -> None:
        for lfn, pfn in work.site.pfns(lfns).items():
            self.log.info("%s: %d files deleted", lfn, work.site.storage.delete_tree(pfn))


class ReportCampaign(BaseOperator):
    """Says what has come of a run, and alone decides its state.

    :param search: id of the task that searched the lake. :param process: id of the task that processed.
    :returns: `{"outcome": "listed" | "nothing to do" | "published", ...}` with the figures of that task.
    """

    def __init__(self, *, search: str, process: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.search = search
        self.process = process

    def execute(self, context: Context) -> dict[str, Any]:
        plan, done = context["ti"].xcom_pull(task_ids=self.search), result_of(context, self.process)
        states = task_states(context)
        if done:
            return {"outcome": "published", **done}
        if plan and plan["dry_run"]:
            return {"outcome": "listed", **plan}
        if plan and not plan["todo"]:
            return {"outcome": "nothing to do", **plan}
        failed = sorted(task for task, state in states.items() if state == TaskInstanceState.FAILED)
        if not failed:
            raise AirflowFailException("The run was cancelled. What was published until then stays.")
        raise AirflowFailException(
            f"The run has not done all of its work: see the log of {', '.join(failed)}."
        )
