from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from portal.core.phases import Phase
from portal.pages import words


def test_every_phase_is_explained() -> None:
    assert all(words.phase(phase) for phase in Phase)


def test_every_state_of_a_task_has_words() -> None:
    from airflow.utils.state import TaskInstanceState

    assert all(state.value in words.STATES for state in TaskInstanceState)
    assert words.state(None) == "to come"
    assert words.state("quite new") == "quite new"


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("submit_jobs", "Submit the jobs"),
        ("await_simulation", "Wait for the jobs: simulation"),
        ("submit_merge", "Submit the jobs: merge"),
        ("something_new", "Something new"),
    ],
)
def test_tasks_have_names(task: str, text: str) -> None:
    assert words.step(task) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (5760, "5.8 kB"), (3_000_000, "3.0 MB"), (10**15, "1000.0 TB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (80, "1 min 20 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.lasting(seconds) == text


def test_times_are_in_utc() -> None:
    when = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=2)))
    assert words.moment(when) == '<time datetime="2026-11-21T10:00:00+00:00">2026-11-21 10:00:00 UTC</time>'
    assert words.moment(None) == ""
    assert words.duration(when, when.astimezone(UTC) + timedelta(minutes=2)) == "2 min 0 s"
    assert words.duration(when, None) == ""


def test_values_are_written_for_people() -> None:
    assert [words.value(v) for v in (True, False, [1, [2, 3]], [], "x", 2.5)] == [
        "yes",
        "no",
        "1, 2, 3",
        "(empty)",
        "x",
        "2.5",
    ]


def test_descriptions_are_markdown_and_no_html() -> None:
    assert (
        words.markdown("in **degrees**, `auto`") == "<p>in <strong>degrees</strong>, <code>auto</code></p>\n"
    )
    shown = words.markdown("<script>alert(1)</script> [x](javascript:alert(1))")
    assert "<script" not in shown
    assert "href" not in shown
