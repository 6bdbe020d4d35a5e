"""`python -m localgrid.screenshots`: take the pictures of the README.

Needs Debian's `chromium` and `fonts-dejavu`, `make demo` and `make demo USE_CASE=cta_reprocessing` before it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from localgrid.airflow_api import AirflowApi
from localgrid.grid import Grid
from localgrid.lake import lake_of
from localgrid.layout import PROJECT
from localgrid.screenshots.browser import browser
from localgrid.screenshots.form import take_form
from localgrid.screenshots.portal import job_of, take_job, take_jobs, take_new, take_phone
from localgrid.screenshots.questions import take_confirmation, take_held
from localgrid.screenshots.runs import finished_run, take_graph, take_list, take_log, take_xcom
from localgrid.signin import passwords

USER = "alice"
IRF_FORM = (("Observation", "Array"), ("Simulation", "Precision", "Running"))
REPROCESSING_FORM = (("Observations", "Processing"), ("Running",))
console = Console()


def main(
    target: Annotated[Path, typer.Argument(help="where the pictures go")] = PROJECT / "docs" / "images",
) -> None:
    """Take the pictures of the README."""
    grid = Grid()
    grid.up()
    api = AirflowApi.of(grid.info, USER)
    irf = finished_run(api, "cta_irf", "ingest_products")
    campaign = finished_run(api, "cta_reprocessing", "process_observations")
    product = api.xcom("cta_irf", irf, "ingest_products")["production_id"]
    password = passwords(grid.info)[USER]
    target.mkdir(parents=True, exist_ok=True)
    with browser(api.url, USER, password) as page:
        take_list(page, target / "dags.png")
        take_form(page, "cta_irf", IRF_FORM, target / "trigger_form.png")
        take_graph(page, "cta_irf", irf, target / "graph.png")
        take_log(page, "cta_irf", irf, "await_simulation", target / "progress.png")
        take_confirmation(page, grid, api, target / "confirmation.png")
        take_form(page, "cta_reprocessing", REPROCESSING_FORM, target / "reprocessing_form.png")
        task, picture = "process_observations", target / "reprocessing_progress.png"
        take_xcom(page, "cta_reprocessing", campaign, task, picture)
        take_held(page, grid, api, lake_of(grid), target / "held.png")
        job = job_of(api, "cta_irf", irf)
        take_jobs(page, target / "portal_jobs.png")
        take_new(page, "cta_irf", target / "portal_new.png")
        take_job(page, job, target / "portal_job.png")
        take_phone(page, job, target / "portal_phone.png")
    shutil.copyfile(grid.home / "products" / product / "irf.png", target / "cta_irf.png")
    console.print(f"{len(list(target.glob('*.png')))} pictures in {target}")


if __name__ == "__main__":
    typer.run(main)
