"""The task that turns the carousel until nothing is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskAwaitingInput

from esap_batch.carousel import Phase, held_for, progress, share, startable
from esap_batch.metrics import HELD, OBSERVATIONS
from hooks.metrics import gauge
from operators.campaign.patience import BearsSilence, bears_silence
from operators.campaign.reserve import budgets, reserve
from operators.campaign.turn import Position, failures, recall_news, revive, still_to_recall, take_turn
from operators.campaign.work import Work
from operators.login import goes_on_after_login
from operators.progress import tell
from operators.submission import submitting
from triggers.carousel import CarouselMoves

if TYPE_CHECKING:
    from airflow.sdk import Context

GO_ON, GIVE_UP = "Go on", "Give up"
SHOWN = 20
STATES = ("waiting", "recalling", "ready", "running", "done", "failed", "elsewhere")


class ProcessObservations(BearsSilence):
    """Brings every observation of the plan from tape to its published product, in a sliding window.

    It waits in the triggerer and takes a turn on a worker when there is something to do. Clearing the task
    repeats what has failed or was never begun, and nothing that is done. After too many failures of one kind
    the run is held: the task waits for somebody's word, and then tries those again too.

    :param steering: what `ValidateRequest` gives. :param facility: what `SelectFacility` gives.
    :param plan: what `SearchLake` gives. :param use_case: module with the functions of `ObservationUseCase`.
    :param patience: seconds to bear with systems that do not answer, before that uses up a try.
    :returns: `{"done", "failed", "elsewhere", "bytes", "recalled_bytes", "failures": {reason: n},
        "missing": {lfn, pfn, adler32}}`.
    """

    template_fields = ("steering", "facility", "plan")

    def __init__(
        self, *, steering: Any, facility: Any, plan: Any, use_case: Any, patience: float = 3600, **kwargs: Any
    ) -> None:
        super().__init__(patience=patience, **kwargs)
        self.steering = steering
        self.facility = facility
        self.plan = plan
        self.use_case = use_case

    @goes_on_after_login
    @bears_silence
    def begin(self, context: Context) -> dict[str, Any]:
        """Begin, or go on where an earlier try was; after a clear what had failed gets another chance."""
        work = self._work(context)
        state, granted = work.state(), int(context["ti"].max_tries)
        if state.held:
            self._ask(context, work, state.held)
        if granted != state.granted:  # it is the first try, or somebody has cleared the task
            revive(work, granted)
        reserve(work.lake, budgets(self.steering, context), work.run, still_to_recall(work, self.plan))
        return self._go_on(context, work)

    @goes_on_after_login
    @bears_silence
    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on when the trigger has fired."""
        if event["status"] != "moved":
            raise AirflowException(event["message"])
        return self._go_on(context, self._work(context))

    @goes_on_after_login
    @bears_silence
    def resume_held(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on, or not, when somebody has answered."""
        work = self._work(context)
        who = (event.get("responded_by_user") or {}).get("name", "somebody")
        self.log.info("%s has answered: %s", who, event.get("chosen_options"))
        held = work.state().held
        revive(work)
        if event.get("chosen_options") != [GO_ON]:
            raise AirflowFailException(f"{who} has given this campaign up. {held}")
        reserve(work.lake, budgets(self.steering, context), work.run, still_to_recall(work, self.plan))
        return self._go_on(context, work)

    def _work(self, context: Context) -> Work:
        return Work.of(context, self.steering, self.facility, self.use_case)

    def _go_on(self, context: Context, work: Work) -> dict[str, Any]:
        from esap_batch.workflows import load_workflow
        from hooks.settings import config_dir

        workflow = load_workflow(config_dir(), self.steering["workflow"])
        while True:
            with submitting(work.site.storage, work.area, context):
                at = take_turn(work, workflow, self.plan["blocks"])
            self.silent_since = None
            kind = held_for(at.total, work.rules)
            self._tell(context, work, at, kind)
            if kind:
                self._hold(context, work, at, kind)
            if at.is_over:
                return self._result(work, at)
            if (news := recall_news(work, at)) is not None:
                self._wait(work, at, news)

    def _tell(self, context: Context, work: Work, at: Position, kind: str) -> None:
        size = at.total.sizes
        begun = sum(at.total.observations.values()), sum(size.values())
        left = self.plan["todo"] - begun[0], self.plan["todo_bytes"] - begun[1]
        document = progress(at.total, left, at.state.elapsed_s, kind)
        self.log.info("%s", document["text"])
        tell(context, document)
        _measure(self.dag_id, at.total.observations, left[0], kind)

    def _hold(self, context: Context, work: Work, at: Position, kind: str) -> None:
        """Stand still until somebody says how to go on, with the diagnosis."""
        examples = [f for f in failures(work) if f["reason"] == kind]
        lines = [f"- observation {f['obs_id']}: {f['message']}" for f in examples[:SHOWN]]
        count = at.total.failures[kind]
        held = f"{count} observations have failed with {kind}, which holds the campaign.\n\n" + "\n".join(
            lines
        )
        self.log.warning("%s", held)
        self._ask(context, work, held)

    def _ask(self, context: Context, work: Work, held: str) -> None:
        from airflow.sdk.execution_time.hitl import upsert_hitl_detail

        state, this_try = work.state(), str(context["ti"].id)
        work.save_state(replace(state, held=held, asked_in=this_try))
        if state.asked_in == this_try:  # Airflow keeps the text of a try's first question
            raise AirflowException("held again: the question is put in the next try of this task")
        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=[GO_ON, GIVE_UP],
            subject=f"{context['dag'].dag_id} is held",
            body=f"{held}\n\n*{GO_ON}* tries these again and goes on; *{GIVE_UP}* ends the run.",
            params={},
        )
        raise TaskAwaitingInput(method_name="resume_held")

    def _wait(self, work: Work, at: Position, news: str) -> None:
        busy = [b for b in at.blocks if b.having(Phase.RUNNING)]
        self.defer(
            trigger=CarouselMoves(
                ref=work.site.backend_ref,
                groups=[work.group(b.number) for b in busy],
                tag=work.tag if at.having(Phase.RECALLING) else "",
                recalls=news,
                running=sum(len(b.having(Phase.RUNNING)) for b in busy),
                releasing=self._waits_for_room(work, at),
                patience=self.patience,
                facility=work.site.facility.name,
            ),
            method_name="resume",
        )

    def _waits_for_room(self, work: Work, at: Position) -> bool:
        """Whether room on disk, or a place at the facility, may become free without any news of it."""
        lacks_place = work.site.places_ref is not None and bool(startable(at.blocks, work.rules))
        return lacks_place or (at.has_waiting and bool(at.having(Phase.RELEASING)))

    def _result(self, work: Work, at: Position) -> dict[str, Any]:
        missing = failures(work)
        counts = Counter({k: at.total.observations.get(k, 0) for k in ("done", "failed", "elsewhere")})
        allowed = share(self.steering["request"]["allowed_failure_fraction"], self.plan["todo"])
        for one in missing[:SHOWN]:
            self.log.warning(
                "observation %s is missing: %s: %s", one["obs_id"], one["reason"], one["message"]
            )
        if counts["failed"] > allowed:
            raise AirflowFailException(
                f"{counts['failed']} of {self.plan['todo']} observations failed, allowed are {allowed}: "
                f"{at.total.failures}. The {counts['done']} that are done are published. "
                "Clear this task to try the others again."
            )
        return {
            **counts,
            "bytes": at.total.sizes.get("done", 0),
            "recalled_bytes": at.total.recalled,
            "failures": dict(at.total.failures),
            "missing": work.site.keep(work.tag, "missing.json", {"observations": missing})
            if missing
            else None,
        }


def _measure(campaign: str, observations: Mapping[str, int], left: int, held: str) -> None:
    """Send how far a campaign is."""
    for state in STATES:
        number = observations.get(state, 0) + (left if state == "waiting" else 0)
        gauge(OBSERVATIONS, number, campaign=campaign, state=state)
    gauge(HELD, int(bool(held)), campaign=campaign)
