from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from portal.core.jobs import JobView
from portal.core.phases import Phase
from portal.core.refusals import NotFound
from portal.results import listing
from portal.results.listing import Result, datasets_of, file_named, href, list_results
from portal.results.run import Run
from tests.unit.portal.results.conftest import DATASET, STEERING, Lake, finished, job, task

CAMPAIGN = {**STEERING, "product_lfn": "/ctao/dl3/reprocessed/x"}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def results(of: JobView, run: Run) -> list[Result]:
        monkeypatch.setattr(listing, "read_run", lambda _job: run)
        return asyncio.run(list_results(of))

    return results


def reports(lake: Lake, content: str) -> None:
    path = lake.folder / "LAPALMA-DISK/ctao/esap/work/esap-1/reports.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)


def test_all_that_a_finished_job_has(lake: Lake, listed: Any) -> None:
    for name in ("irf.fits.gz", "irf.png", "provenance.json", "steering.json", "verdict.json"):
        lake.put(name, b"12345")
    reports(lake, "{}")
    found = listed(job(), finished())
    assert [(r.id, r.kind) for r in found] == [
        ("irf.fits.gz", "product"),
        ("irf.png", "product"),
        ("provenance.json", "paper"),
        ("steering.json", "paper"),
        ("verdict.json", "paper"),
        ("steering", "steering"),
        ("provenance", "provenance"),
        ("archive", "archive"),
        ("crate", "crate"),
        ("reports.submit_jobs", "reports"),
        ("log.validate_request", "log"),
        ("log.check_duplicate", "log"),
        ("log.select_facility", "log"),
        ("log.submit_jobs", "log"),
        ("log.report_end", "log"),
    ]
    assert found[0] == Result(
        id="irf.fits.gz",
        name="irf.fits.gz",
        href="/batch/jobs/7/results/irf.fits.gz",
        size=5,
        mime_type="application/gzip",
        adler32=lake.contents[DATASET][0].adler32,
        kind="product",
    )
    assert next(r for r in found if r.kind == "reports").size == 2


def test_ids_are_stable_different_and_safe_in_an_address(lake: Lake, listed: Any) -> None:
    for name in ("a b#c?.json", "a.json", "ü.png"):
        lake.put(name, b"1")
    first, again = listed(job(), finished()), listed(job(phase=Phase.EXECUTING), finished())
    assert [r.id for r in first] == [r.id for r in again]
    assert len({r.id for r in first}) == len({r.href for r in first}) == len(first)
    assert all(re.fullmatch(r"/batch/jobs/7/[A-Za-z0-9._~%/-]+", r.href) for r in first)


def test_products_of_a_campaign_have_their_names_in_the_ids(lake: Lake, listed: Any) -> None:
    datasets = ["/ctao/dl3/r/dl3-000101-g1", "/ctao/dl3/r/dl3-000102-g1"]
    for number, dataset in enumerate(datasets):
        lake.put(f"dl3_{number}.fits.gz", b"x", dataset=dataset)
        lake.put("steering.json", b"y", dataset=dataset)
    of = job(dag_id="cta_reprocessing", workflow="cta_reprocessing")
    lake.made_by[of.run_key] = datasets
    run = finished(validate_request=CAMPAIGN, check_duplicate=None, report_end={"outcome": "published"})
    found = [r for r in listed(of, run) if r.kind in ("product", "paper")]
    assert [(r.id, r.name) for r in found] == [
        ("dl3-000101-g1.dl3_0.fits.gz", "dl3_0.fits.gz"),
        ("dl3-000101-g1.steering.json", "dl3-000101-g1.steering.json"),
        ("dl3-000102-g1.dl3_1.fits.gz", "dl3_1.fits.gz"),
        ("dl3-000102-g1.steering.json", "dl3-000102-g1.steering.json"),
    ]
    assert f"products of {of.run_key} in dl3" in lake.asked


def test_a_job_without_a_run_has_nothing_and_asks_nobody(lake: Lake, listed: Any) -> None:
    assert listed(job(dag_run_id=None, phase=Phase.PENDING), finished()) == []
    assert lake.asked == []


def test_a_failed_job_has_logs_and_what_was_asked(lake: Lake, listed: Any) -> None:
    found = listed(job(phase=Phase.ERROR), finished(report_end=None))
    assert {r.kind for r in found} == {"steering", "crate", "log"}


def test_a_task_that_has_not_begun_has_no_log(lake: Lake, listed: Any) -> None:
    run = Run((task("a"), task("b", tries=0, began=None), task("c", tries=1, began=None)))
    assert [r.id for r in listed(job(), run)] == ["log.a"]


def test_a_run_that_made_nothing_asks_for_no_products_of_others(lake: Lake) -> None:
    assert datasets_of(job(), finished(report_end=None)) == []
    assert datasets_of(job(), Run()) == []


def test_a_job_that_has_ended_is_looked_up_once(lake: Lake, listed: Any) -> None:
    lake.put("a", b"1")
    for _ in range(3):
        listed(job(), finished())
    assert lake.asked.count("files of 1") == 1
    listed(job(phase=Phase.EXECUTING, end_time=None), finished())
    listed(job(phase=Phase.EXECUTING, end_time=None), finished())
    assert lake.asked.count("files of 1") == 3


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        "",
        "irf.fits.gz/",
        "IRF.FITS.GZ",
        "%2e%2e",
        f"{DATASET}/irf.fits.gz",
    ],
)
def test_no_name_but_those_listed_is_found(lake: Lake, name: str) -> None:
    files = [lake.put("irf.fits.gz", b"1")]
    assert file_named(files, "irf.fits.gz", job()) == files[0]
    with pytest.raises(NotFound):
        file_named(files, name, job())


def test_an_address_quotes_what_a_name_may_hold() -> None:
    assert href(job(), "results", "a/b c%.json") == "/batch/jobs/7/results/a%2Fb%20c%25.json"
