from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esap_batch.facilities import load_facilities
from esap_batch.identity import load_identities
from esap_batch.matching import NoFacilityFits, match
from esap_batch.request import resolve, validate
from esap_batch.use_cases import hello_world
from esap_batch.workflows import load_workflow

CONFIG = Path(__file__).parents[4] / "config"
WORKFLOW = load_workflow(CONFIG, "hello_world")
IDENTITIES = load_identities(CONFIG / "identity.yaml")
FACILITIES = load_facilities(CONFIG / "facilities.yaml")


def steering_of(**conf: Any) -> dict[str, Any]:
    assert validate(conf, WORKFLOW) == []
    return resolve(conf, WORKFLOW, "alice", "hello_world/run")


def test_nothing_goes_against_anything_else() -> None:
    assert hello_world.check(steering_of()["request"], WORKFLOW) == []


def test_each_job_writes_its_own_file() -> None:
    jobs = hello_world.jobs(steering_of(n_jobs=12, message="hi"), "/ctao/esap/x")
    assert [j.index for j in jobs] == list(range(12))
    assert [o.lfn for j in jobs for o in j.outputs] == [f"/ctao/esap/x/hello_{n:05d}.json" for n in range(12)]
    job = jobs[7]
    assert job.command == ("esap-noop", "run", "--config", "config.json")
    assert job.outputs[0].validator == ("esap-noop", "validate", "hello_00007.json")
    config = job.files["config.json"]
    assert (config["message"], config["index"], config["behaviour"]) == ("hi", 7, "ok")
    assert config["outputs"] == ["hello_00007.json"]


@pytest.mark.parametrize("behaviour", WORKFLOW.properties["behaviour"]["enum"])
def test_every_behaviour_reaches_the_payload(behaviour: str) -> None:
    (job,) = hello_world.jobs(steering_of(behaviour=behaviour, n_jobs=1), "/ctao/esap/x")
    told = {"some_fail": "fail_once", "more_memory": "memory", "more_time": "slow"}
    assert job.files["config.json"]["behaviour"] == told.get(behaviour, behaviour)
    assert job.files["config.json"]["outputs"] == [o.name for o in job.outputs]
    assert len(job.outputs) == (2 if behaviour == "partial_output" else 1)


def test_too_much_and_too_long_are_beyond_the_limits_and_the_others_within() -> None:
    (greedy,) = hello_world.jobs(steering_of(behaviour="too_much_memory", n_jobs=1, memory_mb=100), "/x")
    assert greedy.files["config.json"]["memory_mb"] > greedy.limits.memory_mb == 100
    (endless,) = hello_world.jobs(steering_of(behaviour="too_long", n_jobs=1, duration_s=2), "/x")
    assert endless.files["config.json"]["duration_s"] > 100 * endless.limits.wall_time_s == 200
    (slow,) = hello_world.jobs(steering_of(behaviour="slow", n_jobs=1, duration_s=20), "/x")
    assert slow.files["config.json"]["duration_s"] == 20 < slow.limits.wall_time_s


@pytest.mark.parametrize("n_jobs", [0, 1001, 1.5, "3"])
def test_a_number_of_jobs_that_is_none_is_refused(n_jobs: object) -> None:
    (problem,) = validate({"n_jobs": n_jobs}, WORKFLOW)
    assert problem.allowed == "a whole number from 1 to 1000 jobs"


def test_it_fits_the_first_facility() -> None:
    needs = hello_world.requirements(steering_of(n_jobs=1000), IDENTITIES.identity_of("bob"))
    assert (needs.n_jobs, needs.memory_mb, needs.software) == (1000, 128, (("esap-noop", "0.1.0"),))
    assert match(needs, FACILITIES, {}).ranked[0].facility.name == "lapalma"


def test_jobs_that_fit_nowhere_are_refused_with_the_nearest_miss() -> None:
    needs = hello_world.requirements(steering_of(memory_mb=50_000), IDENTITIES.identity_of("bob"))
    with pytest.raises(
        NoFacilityFits, match="Nearest is cscs: needs 50000 MB of memory a job, gives at most"
    ):
        match(needs, FACILITIES, {})


def test_km3nets_own_facility_comes_first() -> None:
    needs = hello_world.requirements(steering_of(), IDENTITIES.identity_of("dave"))
    assert [r.facility.name for r in match(needs, FACILITIES, {}).ranked] == ["km3net-local", "fair-slurm"]


def test_a_facility_of_another_experiment_is_refused() -> None:
    needs = hello_world.requirements(steering_of(facility="lapalma"), IDENTITIES.identity_of("dave"))
    with pytest.raises(NoFacilityFits, match="is open to ctao, the user is in km3net"):
        match(needs, FACILITIES, {})


def test_some_fail_is_about_the_first_jobs_only() -> None:
    jobs = hello_world.jobs(
        steering_of(behaviour="some_fail", n_jobs=3, failing_jobs=2, failing_attempts=4), "/x"
    )
    told = [(j.files["config.json"]["behaviour"], j.files["config.json"]["failing_attempts"]) for j in jobs]
    assert told == [("fail_once", 4), ("fail_once", 4), ("ok", 4)]


def test_what_needs_more_fits_into_twice_its_limits() -> None:
    (hungry,) = hello_world.jobs(steering_of(behaviour="more_memory", n_jobs=1, memory_mb=100), "/x")
    assert 100 == hungry.limits.memory_mb < hungry.files["config.json"]["memory_mb"] < 200
    (slow,) = hello_world.jobs(steering_of(behaviour="more_time", n_jobs=1, duration_s=10), "/x")
    assert 10 == slow.limits.wall_time_s < slow.files["config.json"]["duration_s"] < 20
