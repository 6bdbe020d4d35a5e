"""What every back end must do (docs/backends.md): run against real ones."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from esap_batch.jobs import InputFile, JobBackend, JobSpec, JobState, Limits
from esap_batch.stages import Moves
from hooks.errors import BackendRefused, BackendUnavailable
from tests.integration.backends.places import Place, a_batch, firsts, new_group, writes

WaitFor = Callable[..., Any]


@pytest.fixture
def backend(place: Place) -> JobBackend:
    return place.open(place.owner)


@pytest.fixture
def parked(place: Place) -> JobBackend:
    return place.parked()


def ended(backend: JobBackend, group: str, count: int) -> Callable[[], bool]:
    """Give a condition: so many submissions are known, and all of them have ended."""

    def condition() -> bool:
        counts = backend.counts([group])[group]
        return counts.total() == count and not counts[JobState.QUEUED] + counts[JobState.RUNNING]

    return condition


def test_a_batch_is_submitted_once_however_often_it_is_asked_for(place: Place, parked: JobBackend) -> None:
    batch = a_batch(place, 45, site=place.parking)
    for _ in range(3):
        assert len(parked.submit(batch, firsts(batch))) == 45
    assert sorted(a.key for a in parked.attempts(batch.group)) == [(i, 1) for i in range(45)]
    assert parked.counts([batch.group]) == {batch.group: {JobState.QUEUED: 45}}
    assert parked.cancel(batch.group) == 45


def test_a_submission_in_parts_is_completed(place: Place, parked: JobBackend) -> None:
    batch = a_batch(place, 30, site=place.parking)
    parked.submit(batch, dict.fromkeys(range(0, 30, 3), 1))
    parked.submit(batch, firsts(batch))
    assert sorted(a.key for a in parked.attempts(batch.group)) == [(i, 1) for i in range(30)]
    parked.cancel(batch.group)


def test_workers_at_the_same_time_leave_one_job_each(place: Place) -> None:
    batch = a_batch(place, 25, site=place.parking)
    workers = [place.parked() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda worker: worker.submit(batch, firsts(batch)), workers))
    workers[0].submit(batch, firsts(batch))
    alive = [a for a in workers[0].attempts(batch.group) if not a.state.is_terminal]
    assert sorted(a.index for a in alive) == list(range(25))
    assert len({a.job_id for a in alive}) == 25
    workers[0].cancel(batch.group)


def test_jobs_run_report_and_are_forgotten(place: Place, backend: JobBackend, wait_for: WaitFor) -> None:
    batch = a_batch(place, 3)
    backend.submit(batch, firsts(batch))
    wait_for(ended(backend, batch.group, 3))
    attempts = backend.attempts(batch.group)
    assert Counter(a.state for a in attempts) == {JobState.DONE: 3}
    reports = backend.reports(attempts)
    assert {(reports[a.job_id]["index"], reports[a.job_id]["attempt"]) for a in attempts} == {
        (a.index, a.attempt) for a in attempts
    }
    assert {(r["group"], r["reason"], r["site"]) for r in reports.values()} == {
        (batch.group, "OK", batch.site)
    }
    backend.clean_up(batch.group)
    backend.clean_up(batch.group)
    assert backend.reports(attempts) == {}
    assert sorted(a.key for a in backend.attempts(batch.group)) == [(i, 1) for i in range(3)]
    assert backend.counts([batch.group])[batch.group] == {JobState.DONE: 3}


def test_a_job_that_fails_is_submitted_again_as_its_next_attempt(
    place: Place, backend: JobBackend, wait_for: WaitFor
) -> None:
    batch = a_batch(place, 2, "always_fail")
    backend.submit(batch, firsts(batch))
    wait_for(ended(backend, batch.group, 2))
    (reason,) = {r["reason"] for r in backend.reports(backend.attempts(batch.group)).values()}
    assert reason == "PAYLOAD_FAILED"
    again = replace(batch, jobs=tuple(replace(j, limits=Limits(900 + j.index, 300)) for j in batch.jobs))
    backend.submit(again, {0: 2, 1: 2})
    wait_for(ended(backend, batch.group, 4))
    attempts = backend.attempts(batch.group)
    assert {a.key: a.state for a in attempts} == {(i, n): JobState.FAILED for i in (0, 1) for n in (1, 2)}
    limits = {
        (r["index"], r["attempt"]): r["limits"]["wall_time_s"] for r in backend.reports(attempts).values()
    }
    assert limits == {(0, 1): 600, (1, 1): 600, (0, 2): 900, (1, 2): 901}
    backend.clean_up(batch.group)


def test_cancel_kills_what_runs_and_what_waits(place: Place, backend: JobBackend, wait_for: WaitFor) -> None:
    batch = a_batch(place, 8, "slow")
    backend.submit(batch, firsts(batch))
    wait_for(lambda: backend.counts([batch.group])[batch.group][JobState.RUNNING] > 0)
    assert backend.cancel(batch.group) == 8
    wait_for(lambda: backend.counts([batch.group])[batch.group] == {JobState.CANCELLED: 8})
    assert backend.cancel(batch.group) == 0
    backend.clean_up(batch.group)


def test_a_running_job_says_which_files_it_moves(
    place: Place, backend: JobBackend, wait_for: WaitFor, tmp_path: Path
) -> None:
    content = b"a" * 3_000_000
    (tmp_path / "in.bin").write_bytes(content)
    adler32 = f"{zlib.adler32(content):08x}"
    given = InputFile("in.bin", "/test/in.bin", len(content), adler32, f"file://{tmp_path}/in.bin")
    job = JobSpec(0, ("true",), inputs=(given,), limits=Limits(600, 200))
    batch = a_batch(place, 0, jobs=(job,), transfer={"max_mb_per_s": 0.1})  # for half a minute
    backend.submit(batch, firsts(batch))

    def moves() -> Moves:
        return backend.counts([batch.group])[batch.group].stages.get("fetching inputs", Moves())

    wait_for(lambda: moves() == Moves(1, 0, 1, 0, len(content)))
    wait_for(lambda: 0 < moves().bytes < len(content))
    backend.cancel(batch.group)
    wait_for(lambda: backend.counts([batch.group])[batch.group] == {JobState.CANCELLED: 1})
    assert moves() == Moves()
    backend.clean_up(batch.group)


def test_what_was_never_submitted_is_known_as_nothing(backend: JobBackend) -> None:
    group = new_group()
    assert backend.counts([group]) == {group: {}}
    assert backend.attempts(group) == []
    assert backend.cancel(group) == 0
    backend.clean_up(group)


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_a_poll_is_one_call_however_many_jobs(place: Place, parked: JobBackend, count: int) -> None:
    batch = a_batch(place, count, site=place.parking)
    parked.submit(batch, firsts(batch))
    another, third = new_group(), new_group()
    polling, calls = place.counted()
    polling.counts([batch.group])
    before = calls()
    assert polling.counts([batch.group, another, third]) == {
        batch.group: {JobState.QUEUED: count},
        another: {},
        third: {},
    }
    assert calls() - before == 1
    parked.cancel(batch.group)


def test_load_is_told(place: Place, parked: JobBackend, backend: JobBackend, wait_for: WaitFor) -> None:
    before = backend.load(place.parking)
    batch = a_batch(place, 5, site=place.parking)
    parked.submit(batch, firsts(batch))
    assert backend.load(place.parking).queued >= before.queued + 5
    parked.cancel(batch.group)
    wait_for(lambda: backend.load(place.parking).queued < before.queued + 5)


def test_another_user_sees_and_kills_nothing(place: Place, parked: JobBackend) -> None:
    batch = a_batch(place, 3, site=place.parking)
    mine = parked.submit(batch, firsts(batch))
    other = place.open(place.other)
    assert other.attempts(batch.group) == []
    assert other.counts([batch.group])[batch.group] == {}
    assert other.cancel(batch.group) == 0
    with suppress(BackendRefused):  # nothing, or a refusal
        assert other.reports([replace(a, state=JobState.DONE) for a in mine]) == {}
    assert parked.counts([batch.group])[batch.group] == {JobState.QUEUED: 3}
    parked.cancel(batch.group)


def test_who_is_not_let_in_is_refused(place: Place) -> None:
    batch = a_batch(place, 1)
    with pytest.raises(BackendRefused):
        place.stranger().attempts(batch.group)
    with pytest.raises(BackendRefused):
        place.stranger().submit(batch, firsts(batch))


def test_a_back_end_that_is_away_is_named(place: Place) -> None:
    with pytest.raises(BackendUnavailable, match=r"at .*127\.0\.0\.1:9 does not answer"):
        place.away().counts([new_group()])


NASTY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
WORSE = (
    "$(touch caught)",
    "`touch caught`",
    "; touch caught",
    "a b",
    "*",
    "'",
    '"',
    "\\",
    "\n",
    "",
    "-n",
    "%a",
    "é",
)


@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(values=st.lists(NASTY, max_size=30), name=NASTY)
def test_no_value_means_anything_to_a_shell(
    place: Place, wait_for: WaitFor, tmp_path_factory: pytest.TempPathFactory, values: list[str], name: str
) -> None:
    backend, folder = place.open(place.owner), tmp_path_factory.mktemp("said")
    told = [*WORSE, *values]
    job = writes(0, folder, *told, environment={"ESAP_TEST": name, "ESAP_WORSE": WORSE[0]})
    batch = a_batch(place, 0, jobs=(job,))
    backend.submit(batch, firsts(batch))
    wait_for(ended(backend, batch.group, 1))
    reports = backend.reports(backend.attempts(batch.group))
    assert [r["message"] for r in reports.values() if r["reason"] != "OK"] == []
    arguments, environment = json.loads(Path(folder, "0.json").read_text())
    assert arguments == told
    assert (environment["ESAP_TEST"], environment["ESAP_WORSE"]) == (name, WORSE[0])
    assert [p.name for p in folder.iterdir()] == ["0.json"]
    backend.clean_up(batch.group)
