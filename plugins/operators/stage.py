"""Brings the inputs of jobs to the facility that runs them, and lets them go in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.jobs import InputFile, group_name
from esap_batch.products import base_of, is_complete, work_lfn
from hooks.lake_inputs import ANY_DISK, InputLake
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION
from hooks.storage_element import StorageElement
from operators.site import Site, owner_of, run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

    from hooks.lake_inputs import Staging


class StageInputs(BaseOperator):
    """Asks for all inputs of a run at the facility's storage element, by one rule with a lifetime.

    The files become a dataset of the run's own, so that the rule is nobody else's: it keeps files that are
    there already, brings the others, and can be released without asking who else reads them. Where the jobs
    fetch their inputs themselves (`Facility.fetches_inputs`), the rule only sees to it that all are on disk.

    :param steering: what `SelectData` gives. :param facility: what `SelectFacility` gives.
    :param selection: reference to the document that `SelectData` keeps.
    :returns: `{"dataset", "rule", "lifetime_s", "rse", "facility", "files", "bytes",
        "inputs": {lfn, pfn, adler32}}`; `rule` is empty for a run that reads nothing of the lake.
    """

    template_fields = ("steering", "facility", "selection")

    def __init__(self, *, steering: Any, facility: Any, selection: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.facility = facility
        self.selection = selection

    def execute(self, context: Context) -> dict[str, Any]:
        site = Site.of(self.facility, owner_of(context))
        run = context["dag_run"]
        rse = ANY_DISK if site.facility.fetches_inputs else site.facility.storage_rse
        area = group_name(run.dag_id, run.run_id, self.task_id)
        files = [InputFile(**f) for f in site.recall(self.selection)["inputs"]]
        site.sign(area, run_key(context), self.task_id)
        lake, dataset = InputLake(site.lake), f"{work_lfn(area)}/inputs"
        lifetime = self.steering["limits"]["input_lifetime_s"]
        whose = {"kind": "inputs", "esap_run": run_key(context)}
        rule = ""
        if files:
            lake.collect(dataset, [f.lfn for f in files], whose, lifetime)
            rule = lake.bring(dataset, rse, lifetime)
        size = sum(f.size for f in files)
        self.log.info("%d files, %d bytes, are asked for at %s by rule %s", len(files), size, rse, rule)
        return {
            "dataset": dataset,
            "rule": rule,
            "lifetime_s": lifetime,
            "rse": rse,
            **site.where,
            "files": len(files),
            "bytes": size,
            "inputs": _keep_located(site, area, files),
        }


def _keep_located(site: Site, area: str, files: Sequence[InputFile]) -> dict[str, str]:
    """Keep the inputs with their places at the facility, if they are to be there; give the reference."""
    if not site.facility.fetches_inputs:
        pfns = site.pfns(f.lfn for f in files)
        files = [replace(f, pfn=pfns[f.lfn]) for f in files]
    return site.keep(area, "inputs.json", {"inputs": [asdict(f) for f in files]})


def hold_inputs(lake: RucioLake, staged: Sequence[Mapping[str, Any]]) -> list[str]:
    """Let inputs that `StageInputs` has brought stay for another lifetime; give datasets that are gone."""
    inputs = InputLake(lake)
    return [s["dataset"] for s in staged if not inputs.hold(s["dataset"], s["rule"], s["lifetime_s"])]


class ReleaseInputs(BaseOperator):
    """Lets inputs go when a run has ended, however it has.

    What has arrived is kept for `grace_s` when there is no complete product, so that clearing the failed
    task finds it; what is still under way is called off.

    :param selected: id of the task that selected the data. :param stage: id of the task that staged it.
    :param claim: id of the task that claimed the product.
    :param grace_s: seconds for which inputs of a run without a product are kept.
    """

    def __init__(
        self, *, selected: str, stage: str, claim: str, grace_s: int = 86_400, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.selected = selected
        self.stage = stage
        self.claim = claim
        self.grace_s = grace_s

    def execute(self, context: Context) -> None:
        ti = context["ti"]
        staged, product = ti.xcom_pull(task_ids=self.stage), ti.xcom_pull(task_ids=self.claim)
        document = ti.xcom_pull(task_ids=self.selected, key="document")
        lake = InputLake(RucioLake.from_connection(LAKE_CONNECTION))
        is_over = product is not None and is_complete(
            lake.lake.claims(base_of(product["dataset"])), product["made_by"]
        )
        if staged and staged["rule"]:
            self.log.info("%s", release_rule(lake, staged["rule"], 0 if is_over else self.grace_s))
        references = [document, staged and staged["inputs"]]
        for reference in (r for r in references if r and is_over):
            StorageElement().delete_tree(reference["pfn"].rsplit("/", 1)[0])
            self.log.info("%s deleted", reference["lfn"])


def release_rule(lake: InputLake, rule: str, grace_s: int) -> str:
    """End a rule: at once without `grace_s`, or when it has not brought everything; say what was done."""
    staging: Staging = lake.stagings([rule])[rule]
    if staging.state == "GONE":
        return "the inputs' rule has ended already"
    if grace_s and staging.state == "OK":
        lake.expire(rule, grace_s)
        return f"{staging}; they are kept for {grace_s} s, for another try"
    lake.release(rule)
    return f"{staging}; their rule is released"
