from __future__ import annotations

import re
from http import HTTPStatus

import pytest

from esap_batch.metrics import JOBS, METRICS, Door, Kind, Outcome, door_of, label, outcome_of

PERSONAL = {"user", "owner", "run", "run_id", "job", "path", "address", "subject", "file", "dataset"}


def test_names_are_their_own_and_fit_prometheus() -> None:
    names = [m.name for m in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z_]*", metric.name)
        assert metric.series == metric.stat.replace(".", "_")
        assert metric.kind is not Kind.TIMER or metric.name.endswith("_seconds")


def test_no_label_tells_of_a_person_or_a_run() -> None:
    assert not {name for m in METRICS for name in m.labels} & PERSONAL


def test_labels_are_exactly_the_metrics_own() -> None:
    given = {"facility": "cscs", "state": "running", "triggerer": "host 1"}
    assert JOBS.tags(given) == {"facility": "cscs", "state": "running", "triggerer": "host_1"}
    for wrong in ({"facility": "cscs"}, {**given, "user": "alice"}):
        with pytest.raises(ValueError, match=r"allowed are \['facility', 'state', 'triggerer'\]"):
            JOBS.tags(wrong)


@pytest.mark.parametrize(
    ("text", "value"), [("a b,c=d|e:f\n", "a_b_c_d_e_f_"), ("", "none"), ("x" * 500, "x" * 80)]
)
def test_a_label_breaks_no_packet(text: str, value: str) -> None:
    assert label(text) == value


@pytest.mark.parametrize(
    ("path", "door"),
    [
        ("/uws/jobs/1", Door.UWS),
        ("/esap-api", Door.ESAP),
        ("/batch/jobs", Door.PAGES),
        ("/batch-broker/tokens", Door.CREDENTIALS),
        ("/auth/login", Door.LOGIN),
        ("/api/v2/dags", Door.AIRFLOW),
        ("/uwsx", Door.AIRFLOW),
    ],
)
def test_each_path_has_a_door(path: str, door: Door) -> None:
    assert door_of(path) is door


def test_each_status_has_an_outcome() -> None:
    found = {status: outcome_of(status) for status in HTTPStatus}
    assert found[HTTPStatus.SEE_OTHER] is Outcome.ACCEPTED
    assert found[HTTPStatus.NOT_FOUND] is Outcome.REFUSED
    assert (
        found[HTTPStatus.TOO_MANY_REQUESTS] is found[HTTPStatus.REQUEST_ENTITY_TOO_LARGE] is Outcome.LIMITED
    )
    assert found[HTTPStatus.SERVICE_UNAVAILABLE] is Outcome.FAILED
