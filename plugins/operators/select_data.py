"""Finds the data that a run is about, and says what of the request it could not use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.housekeeping import RUN_FILE
from esap_batch.jobs import group_name
from esap_batch.products import work_lfn
from hooks.lake_inputs import InputLake
from hooks.rucio_lake import RucioLake, dump
from hooks.settings import LAKE_CONNECTION
from hooks.storage_element import StorageElement
from operators.site import identity_of, owner_of, run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.identity import Identity
    from esap_batch.projects import Projects
    from esap_batch.selection import Catalogue, DataSelection
    from esap_batch.workflows import Workflow

    Select = Callable[[dict[str, Any], Identity, Projects, Catalogue], DataSelection]
SHOWN = 100  # entries that are described one by one in the log


class SelectData(BaseOperator):
    """Resolves basket and search to observations, and divides them among jobs.

    The product depends on what is found, so its fingerprint and name follow here. The selection is kept as a
    document at the first of the product's places; XCom `document` has the reference to it.

    :param steering: what `ValidateRequest` gives.
    :param choose: the use case's function from steering, identity, projects and catalogue to the selection.
    :returns: the steering file with `selection`, `needs` and `about` (see `settled`).
    """

    template_fields = ("steering",)

    def __init__(self, *, steering: Any, choose: Select, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.choose = choose

    def execute(self, context: Context) -> dict[str, Any]:
        from esap_batch.projects import load_projects
        from esap_batch.request import settled
        from esap_batch.selection import SelectionRefused
        from esap_batch.workflows import load_workflow
        from hooks.settings import config_dir

        workflow = load_workflow(config_dir(), self.steering["workflow"])
        projects, identity = load_projects(config_dir() / "projects.yaml"), identity_of(owner_of(context))
        lake = InputLake(RucioLake.from_connection(LAKE_CONNECTION))
        try:
            selection = self.choose(self.steering, identity, projects, lake)
        except SelectionRefused as refusal:
            raise AirflowFailException(str(refusal)) from None
        self._show(selection)
        context["ti"].xcom_push("document", self._keep(context, lake.lake, workflow, selection))
        places = lake.places([f.lfn for f in selection.inputs])
        return settled(self.steering, workflow, selection.digest, selection.needs(places), selection.about)

    def _show(self, selection: DataSelection) -> None:
        for one in selection.chosen[:SHOWN]:
            response = f" with IRF {one.irf.dataset}" if one.irf else ""
            self.log.info("%s: %s%s", one.source, one.observation.dataset, response)
            if one.irf and one.irf.azimuth_distance(one.observation.metadata) is None:
                told = "%s has no metadata azimuth_deg: its IRF is chosen by the zenith angle only"
                self.log.warning(told, one.observation.dataset)
        for unmatched in selection.unmatched[:SHOWN]:
            self.log.warning("not used: %s", unmatched)
        counts = len(selection.chosen), len(selection.units), len(selection.unmatched)
        self.log.info("%d observations in %d jobs; %d entries are not used", *counts)

    def _keep(
        self, context: Context, lake: RucioLake, workflow: Workflow, selection: DataSelection
    ) -> dict[str, str]:
        run, places = context["dag_run"], workflow.product["copies"]
        area = work_lfn(group_name(run.dag_id, run.run_id, self.task_id))
        lfn, whose = f"{area}/selection.json", f"{area}/{RUN_FILE}"
        pfns = lake.pfns(places[0], [lfn, whose])
        StorageElement().put(pfns[whose], dump({"run": run_key(context)}))
        stored = StorageElement().put(pfns[lfn], dump(selection.document()))
        return {"lfn": lfn, "pfn": pfns[lfn], "adler32": stored.adler32}
