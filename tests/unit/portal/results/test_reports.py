from __future__ import annotations

import json

from portal.results.reports import kept_reports, read_reports, report_places, report_text
from portal.results.run import Run
from tests.unit.portal.results.conftest import Lake, finished

REPORT = {
    "index": 1,
    "attempt": 2,
    "host": "node-7",
    "reason": "PAYLOAD_FAILED",
    "message": "the payload ended with exit code 1.",
    "payload_log_tail": "one\ntwo",
}


def kept(lake: Lake, *reports: dict[str, object]) -> str:
    pfn = report_places(finished())["submit_jobs"]
    path = lake.folder / "LAPALMA-DISK/ctao/esap/work/esap-1/reports.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 1, "reports": {str(n): r for n, r in enumerate(reports)}}))
    assert pfn.endswith(str(path))
    return pfn


def test_reports_lie_in_the_work_area_at_the_facility(lake: Lake) -> None:
    kept(lake, REPORT)
    assert list(report_places(finished())) == ["submit_jobs"]
    assert list(kept_reports(finished())) == ["submit_jobs"]
    assert lake.asked[0] == "places at LAPALMA-DISK"


def test_reports_lie_where_the_run_was_to_leave_its_files(lake: Lake) -> None:
    moved = {"group": "esap-1", "count": 2, "facility": "lapalma", "storage_rse": "CSCS-DISK", "journal": {}}
    report_places(finished(submit_jobs=moved))
    assert lake.asked[0] == "places at CSCS-DISK"


def test_without_reports_there_are_none(lake: Lake) -> None:
    assert kept_reports(finished()) == {}
    assert read_reports(report_places(finished())["submit_jobs"]) == []


def test_a_run_that_has_submitted_nothing_asks_nobody(lake: Lake) -> None:
    assert kept_reports(Run()) == {}
    assert lake.asked == []


def test_a_facility_that_is_not_configured_any_more_has_none(lake: Lake) -> None:
    gone = {"group": "esap-1", "count": 2, "facility": "closed-down", "journal": {}}
    assert kept_reports(finished(submit_jobs=gone)) == {}


def test_they_come_in_the_order_of_the_jobs(lake: Lake) -> None:
    pfn = kept(lake, {**REPORT, "index": 10}, {**REPORT, "index": 9})
    assert [r["index"] for r in read_reports(pfn)] == [9, 10]


def test_a_report_as_text() -> None:
    assert report_text(REPORT) == (
        "job 1, attempt 2, at node-7\nPAYLOAD_FAILED: the payload ended with exit code 1.\n\none\ntwo\n"
    )
    assert report_text({**REPORT, "payload_log_tail": None, "host": ""}).endswith(
        "at an unknown host\nPAYLOAD_FAILED: the payload ended with exit code 1.\n\n(no output)\n"
    )
