from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.jobs import (
    GROUP_LENGTH,
    Batch,
    InputFile,
    JobSpec,
    JobState,
    Limits,
    Load,
    OutputSpec,
    digests,
    group_name,
    job_name,
    parse_job_name,
)

JOB = JobSpec(
    index=3,
    command=("esap-noop", "run"),
    files={"config.json": {"message": "hi"}},
    inputs=(InputFile("a", "/ctao/esap/a", 3, "0000abcd", "file:///a"),),
    outputs=(OutputSpec("b", "/ctao/esap/b", ("esap-noop", "validate", "b"), "file:///b"),),
    limits=Limits(60, 100, 10),
)
BATCH = Batch("esap-1", (JOB,), software=({"name": "esap-noop", "version": "0.1.0"},), site="A.B.c")


def test_a_job_ends_in_one_of_four_states_and_only_one_is_success() -> None:
    assert {s for s in JobState if s.is_terminal} == set(JobState) - {JobState.QUEUED, JobState.RUNNING}
    assert [s for s in JobState if s.is_terminal and not s.is_failure] == [JobState.DONE]


@given(st.text(), st.text(), st.text())
def test_a_group_name_fits_diracs_column_and_is_always_the_same(dag: str, run: str, task: str) -> None:
    name = group_name(dag, run, task)
    assert len(name) <= GROUP_LENGTH
    assert name == group_name(dag, run, task)


def test_tasks_and_runs_have_batches_of_their_own() -> None:
    names = {group_name(d, r, t) for d in ("a", "b") for r in ("1", "2") for t in ("x", "y")}
    assert len(names) == 8
    assert group_name("a", "b", "c") != group_name("a", "bc", "")


@given(st.integers(0, 99_999), st.integers(1, 99))
def test_a_job_name_says_what_it_is(index: int, attempt: int) -> None:
    group = group_name("d", "r", "t")
    assert parse_job_name(job_name(group, index, attempt)) == (group, index, attempt)


@pytest.mark.parametrize("name", ["hello", "", "esap-1-2", "x-00001-1"])
def test_other_peoples_job_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a job name"):
        parse_job_name(name)


def test_a_journal_gives_the_batch_back() -> None:
    assert Batch.from_journal(json.loads(json.dumps(BATCH.journal()))) == BATCH


def test_a_journal_from_before_cores_and_transfers_is_read() -> None:
    journal = json.loads(json.dumps(BATCH.journal()))
    del journal["transfer"], journal["jobs"][0]["limits"]["cores"]
    assert Batch.from_journal(journal) == BATCH


def test_a_journal_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed 1"):
        Batch.from_journal({**BATCH.journal(), "schema": 2})


def test_the_runner_is_not_told_where_it_runs() -> None:
    assert set(BATCH.document()) == {"schema", "group", "runtime", "software", "jobs", "transfer"}


def test_each_job_that_the_runner_gets_has_its_digest() -> None:
    assert BATCH.document()["jobs"][0]["digest"] == digests([JOB], BATCH.software)[3]


def test_a_job_is_the_same_wherever_its_files_lie_and_whatever_its_limits() -> None:
    (one,), (out,) = JOB.inputs, JOB.outputs
    elsewhere = replace(one, adler32="0000ABCD", pfn="file:///there")
    moved = replace(JOB, inputs=(elsewhere,), outputs=(replace(out, lfn="/c", pfn=""),), limits=Limits(61))
    read = Batch.from_journal(json.loads(json.dumps(BATCH.journal())))
    known = digests([JOB], BATCH.software)
    assert known == digests([moved], BATCH.software) == digests(read.jobs, read.software)


def test_a_job_is_the_same_in_whatever_order_its_inputs_are_listed() -> None:
    files = (*JOB.inputs, InputFile("z", "/ctao/esap/z", 1, "00000001"))
    some, others = replace(JOB, inputs=files), replace(JOB, inputs=files[::-1])
    assert digests([some], ()) == digests([others], ())


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, command=("esap-noop", "run", "twice")),
        replace(JOB, files={"config.json": {"message": "ho"}}),
        replace(JOB, inputs=(replace(JOB.inputs[0], adler32="0000abce"),)),
        replace(JOB, outputs=(replace(JOB.outputs[0], name="c"),)),
        replace(JOB, environment={"A": "b"}),
    ],
)
def test_what_decides_a_jobs_outputs_makes_it_another(other: JobSpec) -> None:
    assert digests([other], BATCH.software) != digests([JOB], BATCH.software)


def test_other_software_makes_a_job_another() -> None:
    newer = [{"name": "esap-noop", "version": "0.2.0"}]
    assert digests([JOB], newer) != digests([JOB], BATCH.software)


def test_the_load_of_a_place_counts_what_is_there_and_what_has_failed() -> None:
    active = {JobState.QUEUED: 3, JobState.RUNNING: 2}
    recent = {
        JobState.DONE: 5,
        JobState.FAILED: 2,
        JobState.LOST: 1,
        JobState.CANCELLED: 9,
        JobState.QUEUED: 3,
    }
    load = Load.of(active, recent)
    assert load == Load(queued=3, running=2, failed_recently=3, ended_recently=8)
    assert (load.active, load.failure_rate) == (5, 0.375)


def test_where_nothing_has_ended_nothing_has_failed() -> None:
    assert Load.of({}, {}) == Load()
    assert Load().failure_rate == 0
