from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esap_batch.facilities import load_facilities
from esap_batch.identity import load_identities
from esap_batch.jobs import InputFile
from esap_batch.matching import NoFacilityFits, match
from esap_batch.request import examine, resolve
from esap_batch.runtimes import CONTAINED
from esap_batch.use_cases import cta_concordia
from esap_batch.workflows import load_workflow

CONFIG = Path(__file__).parents[4] / "config"
DIRECTORY = "/ctao/sim/corsika/cta-concordia-0123-g1"
IMAGE = InputFile("image.tar.gz", "/ctao/esap/images/corsika/x-g1/image.tar.gz", 10, "0123abcd", "file:///i")


def steering(name: str = "cta_concordia", **request: Any) -> dict[str, Any]:
    workflow = load_workflow(CONFIG, name)
    assert examine(request, workflow, cta_concordia.check) == []
    return resolve(request, workflow, "alice", f"{name}/run")


def test_each_job_makes_a_run_of_its_own_in_the_container() -> None:
    jobs = cta_concordia.shower_jobs(steering(NSHOW=10, n_jobs=4, RUNNR=7), DIRECTORY, [IMAGE])
    assert [job.outputs[0].name for job in jobs] == [f"DAT00000{n}" for n in (7, 8, 9)] + ["DAT000010"]
    first = jobs[0]
    assert first.command == ("/usr/bin/corsika", "run.inp", "DAT000007.log")
    assert first.inputs == (IMAGE,)
    assert "NSHOW   3\n" in first.files["run.inp"]
    assert len({job.files["run.inp"] for job in jobs}) == 4
    assert first.outputs[0].validator == (
        *("esap-corsika", "validate", "DAT000007", "--card", "run.inp", "--log", "DAT000007.log"),
    )
    assert first.outputs[1].lfn == f"{DIRECTORY}/DAT000007.log"


def test_the_summary_takes_the_particle_files_and_knows_how_many_there_must_be() -> None:
    given = [InputFile(n, f"{DIRECTORY}/{n}", 1, "0") for n in ("DAT000001", "DAT000001.log", "DAT000002")]
    (job,) = cta_concordia.summary_jobs(steering(NSHOW=10, n_jobs=2), DIRECTORY, given)
    assert [i.name for i in job.inputs] == ["DAT000001", "DAT000002"]
    assert job.files["config.json"]["files"] == ["DAT000001", "DAT000002"]
    assert job.outputs[0].validator[-4:] == ("--runs", "2", "--showers", "10")


def test_the_configuration_decides_the_image() -> None:
    order = cta_concordia.image(steering(HIGH_MODEL="EPOS", OPTIONS=["THIN"]))
    assert order is not None
    assert (order.name, order.version) == ("corsika", "0.1.0")
    assert order.defines == {"HIGH_MODEL": "EPOS", "LOW_MODEL": "URQMD", "GEOMETRY": "FLAT", "THIN": ""}


def test_the_twin_needs_no_container_and_greets() -> None:
    twin = steering(processor="esap-noop", NSHOW=4, n_jobs=2)
    assert cta_concordia.image(twin) is None
    assert twin["software"] == [{"name": "esap-noop", "version": "0.1.0"}]
    jobs = cta_concordia.shower_jobs(twin, DIRECTORY)
    assert [job.command[0] for job in jobs] == ["esap-noop", "esap-noop"]
    assert [job.outputs[0].name for job in jobs] == ["DAT000001.json", "DAT000002.json"]
    (summary,) = cta_concordia.summary_jobs(twin, DIRECTORY, [])
    assert summary.outputs[0].name == "summary.json"


def test_the_twin_makes_another_product() -> None:
    assert steering()["fingerprint"] != steering(processor="esap-noop")["fingerprint"]


def test_what_has_no_effect_makes_no_other_product() -> None:
    same = steering(job_name="x", group_name="y", output_rse="CSCS-DISK", cputime_s=100, facility="cscs")
    assert same["fingerprint"] == steering()["fingerprint"]


def test_options_are_the_same_in_any_order() -> None:
    one, other = (steering(OPTIONS=given) for given in (["THIN", "CERENKOV"], ["CERENKOV", "THIN"]))
    assert one["request"]["OPTIONS"] == ["CERENKOV", "THIN"]
    assert one["fingerprint"] == other["fingerprint"]
    assert cta_concordia.image_title(one) == cta_concordia.image_title(other)


def test_the_order_of_sequences_and_levels_counts() -> None:
    one, other = (steering(OBSLEV=given) for given in ([0, 220000], [220000, 0]))
    assert one["fingerprint"] != other["fingerprint"]


def test_a_time_limit_that_is_given_counts_for_the_showers_alone() -> None:
    given = steering(cputime_s=77)
    assert cta_concordia.shower_jobs(given, DIRECTORY, [IMAGE])[0].limits.wall_time_s == 77
    assert cta_concordia.summary_jobs(given, DIRECTORY, [])[0].limits.wall_time_s > 77


def test_km3net_has_defaults_and_facilities_of_its_own() -> None:
    km3net = steering("km3net_concordia")
    assert km3net["request"]["GEOMETRY"] == "VOLUMEDET_CURVED"
    assert km3net["request"]["ECUTS"] == [300, 300, 1000, 1000]
    assert km3net["product_lfn"].startswith("/ctao/km3net/corsika/km3net-concordia-")
    identity = load_identities(CONFIG / "identity.yaml").identity_of("dave")
    needs = cta_concordia.requirements(km3net, identity)
    found = match(needs, load_facilities(CONFIG / "facilities.yaml"), {})
    assert [r.facility.name for r in found.ranked] == ["km3net-local", "fair-slurm"]


def test_every_run_needs_a_facility_that_starts_images() -> None:
    identity = load_identities(CONFIG / "identity.yaml").identity_of("alice")
    assert cta_concordia.requirements(steering(), identity).runtimes == CONTAINED
    assert cta_concordia.requirements(steering(processor="esap-noop"), identity).runtimes == ("plain",)


@pytest.mark.parametrize("name", ["cta-dirac", "egi-dirac"])
def test_a_facility_that_is_switched_off_says_why(name: str) -> None:
    identity = load_identities(CONFIG / "identity.yaml").identity_of("alice")
    needs = cta_concordia.requirements(steering(facility=name), identity)
    with pytest.raises(NoFacilityFits, match="is switched off: needs an Airflow connection"):
        match(needs, load_facilities(CONFIG / "facilities.yaml"), {})


def test_a_job_has_at_most_so_many_showers() -> None:
    workflow = load_workflow(CONFIG, "cta_concordia")
    (problem,) = examine({"NSHOW": 100_000, "n_jobs": 4}, workflow, cta_concordia.check)
    assert str(problem) == (
        "n_jobs = 4: allowed at least 5 for NSHOW = 100000 (a job makes at most 20000 showers)"
    )
