"""`make demo`: one production from its request to the product in the lake, with what happens shown live."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from esap_batch.products import scope_of
from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake
from localgrid.airflow_api import ENDED, AirflowApi, changes
from localgrid.grid import Grid
from localgrid.lake import lake_of
from localgrid.layout import PROJECT
from localgrid.samples import prepare
from localgrid.signin import passwords

LOOK_EVERY = 0.5  # seconds
USER = "alice"
USERS = {  # where alice is not the one to ask
    "fair_analysis": "frank",
    "km3net_concordia": "dave",
    "km3net_reduction": "dave",
    "ska_hi_cube": "sofia",
}
SHOWN_STATES = {"success": "[green]done[/]", "failed": "[red]failed[/]", "up_for_retry": "[yellow]again[/]"}
SHOWN_METADATA = (
    "product_id", "product_data_category", "product_data_levels", "product_format", "request_site",
    "activity_software_name", "activity_software_version", "esap_facility", "esap_owner", "esap_fingerprint",
)  # fmt: skip
console = Console()


def example(use_case: str) -> dict[str, Any]:
    """Read the example request of the README."""
    path = PROJECT / "config" / "workflows" / use_case / "example.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def follow(grid: Grid, api: AirflowApi, dag_id: str, run_id: str) -> str:
    """Show tasks as they end and jobs as they run; give the state of the run."""
    seen: dict[str, str] = {}
    with console.status("waiting for the first task") as status:
        while True:
            grid.check()
            state = str(api.run(dag_id, run_id)["state"])
            tasks = api.tasks(dag_id, run_id)
            now = {t: str(one["state"]) for t, one in tasks.items()}
            for task, task_state in changes(seen, now):
                if task_state in SHOWN_STATES:
                    duration = tasks[task]["duration"] or 0.0
                    console.print(f"  {task:<22} {SHOWN_STATES[task_state]:<18} {duration:6.1f} s")
            seen = now
            if state in ENDED:
                return state
            _say_what_runs(status, api, dag_id, run_id, tasks)
            time.sleep(LOOK_EVERY)


def _say_what_runs(
    status: Status, api: AirflowApi, dag_id: str, run_id: str, tasks: Mapping[str, dict[str, Any]]
) -> None:
    busy = [t for t in tasks.values() if t["state"] in ("running", "deferred", "up_for_retry")]
    for task in busy:
        told = api.xcom(dag_id, run_id, task["task_id"], "progress") or {"text": task["state"]}
        status.update(f"{task['task_id']}: {told['text']}")


def download(lake: RucioLake, dataset: str, target: Path) -> list[Path]:
    """Download a dataset through Rucio, which compares the checksums; give the files."""
    from rucio.client.downloadclient import DownloadClient

    quiet = logging.getLogger("rucio")
    quiet.setLevel(logging.WARNING)
    logging.getLogger("policy").setLevel(logging.WARNING)
    client = DownloadClient(lake.client, logger=quiet)
    did = f"{scope_of(dataset)}:{dataset}"
    done = client.download_dids([{"did": did, "base_dir": str(target), "no_subdir": True}], num_threads=2)
    return [Path(d["dest_file_paths"][0]) for d in done]


def show_product(lake: RucioLake, dataset: str, target: Path) -> None:
    """Tell what is in the lake, and download it."""
    metadata = lake.metadata(dataset)
    table = Table(title="Product", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("LFN of the dataset", dataset)
    for name in SHOWN_METADATA:
        if name in metadata:
            table.add_row(name, str(metadata[name]))
    table.add_row("checks", f"{metadata['esap_checks']}, verdict: {metadata['esap_verdict']}")
    for file in lake.files(dataset):
        name = file["name"].rsplit("/", 1)[-1]
        table.add_row("file", f"{name}, {file['bytes']} bytes, adler32 {file['adler32']}")
    table.add_row("provenance", f"{dataset}/provenance.json (W3C PROV-JSON)")
    console.print(table)
    for path in sorted(download(lake, dataset, target)):
        if path.suffix == ".png":
            console.print(f"Plot: [bold]{path}[/]")


def show_end(lake: RucioLake, end: Mapping[str, Any], target: Path) -> None:
    """Tell what has come of a run that makes one product."""
    dataset, made_by = end["product"]["dataset"], end["product"]["made_by"]
    if end["outcome"] == "found":
        console.print(f"\n[bold]Duplicate:[/] made by {made_by} already; no job was submitted.")
    show_product(lake, dataset, target / dataset.rsplit("/", 1)[-1])


def show_campaign(lake: RucioLake, use_case: str, end: Mapping[str, Any], target: Path) -> None:
    """Tell what has come of a run that makes a product for each observation, and download the first."""
    if end["outcome"] == "nothing to do":
        console.print(
            "\n[bold]Nothing to do:[/] every observation is published already; nothing was recalled."
        )
    bulk = BulkLake(lake)
    found = bulk.metadata(bulk.find("dl3", [{"kind": "observation", "esap_workflow": use_case}]))
    there = {n: m for n, m in found.items() if m["esap_state"] == "published"}
    table = Table(title="Products", title_justify="left")
    for title in ("observation", "events", "live time (s)", "made of", "dataset"):
        table.add_column(title, overflow="fold")
    for name, about in sorted(there.items()):
        figures = (
            about.get("n_events", ""),
            about.get("livetime_s", ""),
            about["esap_parents"].rsplit("/", 1)[-1],
        )
        table.add_row(str(about["obs_id"]), *map(str, figures), name)
    console.print(table)
    first = min(there)
    show_product(lake, first, target / first.rsplit("/", 1)[-1])


def main(
    use_case: Annotated[str, typer.Argument(help="a workflow of config/workflows")] = "cta_irf",
) -> None:
    """Run the example request of a use case."""
    began = time.monotonic()
    grid = Grid(progress=lambda name, seconds: console.print(f"  {name:<22} {seconds:6.1f} s"))
    grid.up()
    console.print(f"Local grid and Airflow are up after {time.monotonic() - began:.1f} s\n")
    user = USERS.get(use_case, USER)
    api, lake = AirflowApi.of(grid.info, user), lake_of(grid)
    prepare(use_case, grid, lake)
    conf = example(use_case)
    console.print(f"Triggering [bold]{use_case}[/] as {user} with {json.dumps(conf)}")
    try:
        answer = api.trigger(use_case, conf)
        answer.raise_for_status()
        run_id = answer.json()["dag_run_id"]
        state = follow(grid, api, use_case, run_id)
    except httpx.HTTPError as error:
        console.print(f"[red]Airflow at {api.url} does not answer as it should: {error}[/]")
        raise typer.Exit(1) from error
    end = api.xcom(use_case, run_id, "report_end") or {}
    if state != "success":
        console.print(f"[red]The run has {state}.[/] See {api.url}/dags/{use_case}/runs/{run_id}")
        raise typer.Exit(1)
    target = grid.home / "products"
    if "product" in end:
        show_end(lake, end, target)
    else:
        show_campaign(lake, use_case, end, target)
    _say_farewell(grid, user, time.monotonic() - began)


def _say_farewell(grid: Grid, user: str, seconds: float) -> None:
    airflow = grid.info["airflow"]
    password = passwords(grid.info)[user]
    console.print(
        f"\nAll of it took {seconds:.1f} s. Portal: [bold]{airflow['url']}/batch/[/], {user} / {password}. "
        f"Airflow: [bold]{airflow['url']}[/]"
    )
    console.print("It stays up until `make down`; `make demo` again shows the duplicate check.")


if __name__ == "__main__":
    typer.run(main)
