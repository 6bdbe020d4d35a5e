from __future__ import annotations

import pytest

from esap_batch import acts
from esap_batch.acts import act_of, record, verdict


@pytest.mark.parametrize(
    ("method", "path", "act", "facts"),
    [
        ("POST", "/uws/jobs", "job.change", {}),
        ("POST", "/uws/hello_world/jobs/7/phase", "job.phase", {"job": 7}),
        ("POST", "/uws/hello_world/jobs/7/destruction", "job.change", {"job": 7}),
        ("DELETE", "/esap-api/uws/jobs/7/", "job.delete", {"job": 7}),
        ("POST", "/batch/jobs/7/abort", "job.abort", {"job": 7}),
        ("GET", "/batch/jobs/7/results/a.fits", "result.download", {"job": 7}),
        ("HEAD", "/batch/jobs/7/results.zip", "result.download", {"job": 7}),
        ("POST", "/api/v2/dags/cta_irf/dagRuns", "run.trigger", {"run": "cta_irf"}),
        ("PATCH", "/api/v2/dags/cta_irf/dagRuns/r 1", "run.end", {"run": "cta_irf/r 1"}),
        ("DELETE", "/api/v2/dags/cta_irf/dagRuns/r1", "run.delete", {"run": "cta_irf/r1"}),
        ("POST", "/api/v2/dags/cta_irf/dagRuns/r1/clear", "run.clear", {"run": "cta_irf/r1"}),
        (
            "PATCH",
            "/api/v2/dags/d/dagRuns/r/taskInstances/t/-1/hitlDetails",
            "run.answer",
            {"run": "d/r"},
        ),
        ("POST", "/api/v2/connections", "admin.change", {"target": "POST /api/v2/connections"}),
        ("GET", "/auth/callback/iam", "login", {}),
        ("POST", "/batch-broker/tokens", "credential.use", {}),
        ("DELETE", "/batch-broker/api/credentials/dirac:x", "consent.withdraw", {"system": "dirac:x"}),
        ("GET", "/batch-broker/api/all-credentials", "credential.list_all", {}),
    ],
)
def test_each_act_has_a_name(method: str, path: str, act: str, facts: dict[str, str]) -> None:
    assert act_of(method, path, reads_only=method in ("GET", "HEAD")) == (act, facts)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/uws/jobs/7"),
        ("GET", "/batch/jobs/7"),
        ("POST", "/api/v2/dags/~/dagRuns/list"),
        ("POST", "/batch-broker/places"),
        ("DELETE", "/batch-broker/places/f/b"),
        ("OPTIONS", "/uws/jobs"),
    ],
)
def test_reading_and_machinery_are_no_acts(method: str, path: str) -> None:
    assert act_of(method, path, reads_only=method != "DELETE" and not path.endswith("places")) is None


@pytest.mark.parametrize(
    "path", ["/esap-api/managed-sda/offersets/s3cret/", "/batch-broker/callback", "/esap-api/sessions/s3cret"]
)
def test_what_a_path_may_hide_is_not_told(path: str) -> None:
    found = act_of("POST", path, reads_only=False)
    assert found is not None
    assert "s3cret" not in str(found)


def test_every_line_has_the_same_first_names() -> None:
    line = record("job.abort", "2026-01-01T00:00:00.000+00:00", "bob", "refused", job=7, why="x" * 999)
    assert list(line) == [
        "time", "act", "user", "outcome", "run", "job", "facility", "address", "why",
    ]  # fmt: skip
    assert (line["job"], len(line["why"])) == (7, acts.LONGEST)


@pytest.mark.parametrize(
    ("status", "word"), [(200, "done"), (303, "done"), (404, "refused"), (429, "refused"), (503, "failed")]
)
def test_how_an_act_ended(status: int, word: str) -> None:
    assert verdict(status) == word
