"""Finds the observations of a request in the lake, and what is to be done about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped

from esap_batch.budget import in_words
from esap_batch.campaigns import Standing, Verdict, standing_of
from esap_batch.carousel import blocks_of, share
from esap_batch.jobs import InputFile
from esap_batch.observations import Observation, volume_by_place
from esap_batch.products import RunState, base_of
from operators.campaign.work import CAMPAIGN, Work
from operators.runs import run_state

if TYPE_CHECKING:
    from airflow.sdk import Context

SHOWN = 50


@dataclass(frozen=True)
class Found:
    """An observation, the name of its product, and how that stands."""

    observation: Observation
    base: str
    standing: Standing


class SearchLake(BaseOperator):
    """Searches the lake by metadata, leaves out what is done or hopeless, and writes the plan of the run.

    A dry run ends here, with the list of files in the log and on storage; a run with nothing to do as well.
    Once the run has begun its plan stands: jobs are named by the places of observations in it.

    :param steering: what `ValidateRequest` gives. :param facility: what `SelectFacility` gives.
    :param use_case: module with the functions of `ObservationUseCase`.
    :returns: `{"observations", "files", "bytes", "todo", "todo_files", "todo_bytes", "recall_bytes",
        "blocks", "by_place": {RSE: bytes}, "standing": {verdict: n}, "dry_run",
        "listing": {lfn, pfn, adler32}}`.
    """

    template_fields = ("steering", "facility")

    def __init__(self, *, steering: Any, facility: Any, use_case: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.facility = facility
        self.use_case = use_case

    def execute(self, context: Context) -> dict[str, Any]:
        work = Work.of(context, self.steering, self.facility, self.use_case)
        if work.has_begun:
            standing = work.plan() or self._plan_of_listing(work)
            self._require_same_recipe(work)
            self.log.info("the run has begun with its plan of %d observations: it stands", standing["todo"])
            return standing
        observations = self._search(work)
        found = self._standings(context, work, observations)
        places = work.lake.places([f.lfn for o in observations for f in o.files])
        result = self._plan(work, found, places)
        self._show(found, places, result)
        if result["dry_run"] or not result["todo"]:
            context["ti"].xcom_push("return_value", result)
            following = context["task"].get_direct_relatives(upstream=False)
            raise DownstreamTasksSkipped(tasks=[t.task_id for t in following if not t.is_teardown])
        return result

    def _require_same_recipe(self, work: Work) -> None:
        """Refuse to go on with a plan whose products would not be what their names say."""
        first = work.blocks([0])[0].items[0]
        planned = base_of(first.product)
        now = work.use_case.product_base(self.steering, first.observation)
        if planned != now:
            raise AirflowFailException(
                f"the run has begun to make {planned}; with the software and settings of now that would be "
                f"{now}: start a new run"
            )

    def _search(self, work: Work) -> list[Observation]:
        selection = work.use_case.selection(self.steering["request"])
        names = work.lake.find(work.use_case.SCOPE, selection.filters())
        metadata, files = work.lake.metadata(names), work.lake.files(names)
        found = [
            Observation(int(m["obs_id"]), n, {k: m[k] for k in work.use_case.INHERITED if k in m}, files[n])
            for n, m in ((n, metadata[n]) for n in names)
        ]
        if selection.tel_ids:
            telescopes = work.lake.metadata([f.lfn for o in found for f in o.files])
            found = [
                o.only(f.lfn for f in o.files if selection.takes_telescope(int(telescopes[f.lfn]["tel_id"])))
                for o in found
            ]
        for empty in (o for o in found if not o.files):
            self.log.warning("observation %d is left out: it has no files of these telescopes", empty.obs_id)
        found = self._without_flawed(work, [o for o in found if o.files])
        found = sorted(found, key=lambda o: (o.obs_id, o.dataset))
        self._refuse(work, found)
        return found

    def _without_flawed(self, work: Work, found: Sequence[Observation]) -> list[Observation]:
        """Leave out what no product can be made of; who asks for it by a request is refused."""
        required = work.use_case.required(self.steering["request"])
        flawed = {o.dataset: lacking for o in found if (lacking := o.lacks(required))}
        told = [f"{dataset} has no metadata {', '.join(names)}" for dataset, names in flawed.items()]
        if told and not self.steering["campaign"]["name"]:
            raise AirflowFailException("; ".join(told[:SHOWN]))
        for words in told:
            self.log.warning("left out: %s", words)
        return [o for o in found if o.dataset not in flawed]

    def _refuse(self, work: Work, found: Sequence[Observation]) -> None:
        """Stop before anything is recalled when the request cannot be carried out."""
        most = self.steering["limits"]["max_observations"]
        if (
            not found and not self.steering["campaign"]["name"]
        ):  # a campaign may begin before its data are there
            asked = {k: v for k, v in self.steering["request"].items() if v and k in work.use_case.SELECTING}
            raise AirflowFailException(f"no observation in the lake is as asked for: {asked}")
        if len(found) > most:
            raise AirflowFailException(
                f"{len(found)} observations are selected: allowed at most {most} a run"
            )
        for one in found:
            if one.size > work.rules.window_bytes:
                raise AirflowFailException(
                    f"window_gb = {self.steering['request']['window_gb']:g}: allowed at least "
                    f"{one.size / 1e9:.3g}, the volume of observation {one.obs_id}"
                )

    def _standings(self, context: Context, work: Work, observations: Sequence[Observation]) -> list[Found]:
        scope = self.steering["product_lfn"].split("/")[2]
        claims = work.lake.claims(scope, work.claimed)
        runs = {c.run for known in claims.values() for c, _ in known if not c.is_published}
        alive = {run for run in runs if run != work.run and run_state(context, run) is RunState.ALIVE}
        patient = self.steering["request"]["retry_failed"]
        limit = None if patient else self.steering["campaign"]["max_tries"]
        found = []
        for one in observations:
            base = work.use_case.product_base(self.steering, one)
            allowed = share(work.rules.missing_fraction, len(one.files))
            standing = standing_of(base, claims.get(base, []), work.run, alive, limit, allowed)
            found.append(Found(one, base, standing))
        return found

    def _plan(
        self, work: Work, found: Sequence[Found], places: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Write blocks and listing; give the summary."""
        todo = [f for f in found if f.standing.verdict.is_todo]
        dry = bool(self.steering["request"]["dry_run"])
        blocks = blocks_of(
            [(f.observation, f.standing.product) for f in todo], self.steering["campaign"]["block_length"]
        )
        listing = [_listed(f, places) for f in found]
        work.site.sign(work.tag, work.run, CAMPAIGN)
        for block in () if dry else blocks:
            work.save(block)
        plan = _summary(work, found, places, len(blocks), dry=dry)
        plan["listing"] = work.site.keep(work.tag, "listing.json", {"observations": listing})
        work.save_plan(plan)
        return plan

    def _plan_of_listing(self, work: Work) -> dict[str, Any]:
        """Sum up again what a version of this service has planned that wrote no plan."""
        listed = work.listing()
        found = [_found(one) for one in listed]
        places = {f["lfn"]: f["rses"] for one in listed for f in one["files"]}
        left, blocks = sum(f.standing.verdict.is_todo for f in found), 0
        while left > 0:
            left -= len(work.blocks([blocks])[0].items)
            blocks += 1
        plan = _summary(work, found, places, blocks, dry=False)
        plan["listing"] = work.site.keep(work.tag, "listing.json", {"observations": listed})
        work.save_plan(plan)
        return plan

    def _show(
        self, found: Sequence[Found], places: Mapping[str, Sequence[str]], result: Mapping[str, Any]
    ) -> None:
        files = [(f, x) for f in found for x in f.observation.files]
        for one, file in files[:SHOWN]:
            where = ", ".join(places.get(file.lfn, ())) or "nowhere"
            self.log.info(
                "observation %d: %s, %s, at %s", one.observation.obs_id, file.lfn, in_words(file.size), where
            )
        if len(files) > SHOWN:
            self.log.info("and %d files more: all are in %s", len(files) - SHOWN, result["listing"]["lfn"])
        for one in found:
            if not one.standing.verdict.is_todo:
                self.log.info("observation %d is left out: %s", one.observation.obs_id, one.standing.message)
        volumes = "; ".join(f"{in_words(n)} at {rse}" for rse, n in result["by_place"].items())
        self.log.info(
            "%d observations with %d files, %s (%s); to do: %d observations, %s to recall",
            result["observations"], result["files"], in_words(result["bytes"]), volumes,
            result["todo"], in_words(result["recall_bytes"]),
        )  # fmt: skip


def _summary(
    work: Work, found: Sequence[Found], places: Mapping[str, Sequence[str]], blocks: int, *, dry: bool
) -> dict[str, Any]:
    """Give a plan's figures."""
    todo = [f for f in found if f.standing.verdict.is_todo]
    rse, everything = work.site.facility.storage_rse, [f.observation for f in found]
    to_recall = [x for f in todo for x in f.observation.files if rse not in places.get(x.lfn, ())]
    return {
        "observations": len(found),
        "files": sum(len(o.files) for o in everything),
        "bytes": sum(o.size for o in everything),
        "todo": len(todo),
        "todo_files": sum(len(f.observation.files) for f in todo),
        "todo_bytes": sum(f.observation.size for f in todo),
        "recall_bytes": sum(f.size for f in to_recall),
        "blocks": blocks,
        "by_place": volume_by_place(everything, places),
        "standing": {str(v): n for v in Verdict if (n := sum(f.standing.verdict is v for f in found))},
        "dry_run": dry,
    }


def _found(listed: Mapping[str, Any]) -> Found:
    """Read what `_listed` gave."""
    files = tuple(InputFile(f["lfn"], f["lfn"], f["bytes"], "") for f in listed["files"])
    one = Observation(listed["obs_id"], listed["dataset"], files=files)
    return Found(one, "", Standing(Verdict(listed["standing"]), listed["message"]))


def _listed(found: Found, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    files = [
        {"lfn": f.lfn, "bytes": f.size, "rses": list(places.get(f.lfn, ()))} for f in found.observation.files
    ]
    return {
        "obs_id": found.observation.obs_id,
        "dataset": found.observation.dataset,
        "standing": str(found.standing.verdict),
        "message": found.standing.message,
        "files": files,
    }
