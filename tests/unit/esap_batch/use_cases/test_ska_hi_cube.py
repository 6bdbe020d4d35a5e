from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from esap_batch.cubes import CubeSelection
from esap_batch.facilities import load_facilities
from esap_batch.identity import load_identities
from esap_batch.jobs import InputFile
from esap_batch.matching import match
from esap_batch.own_workflow import CONFIG, SETTINGS, SNAKEFILE, WORKFLOW
from esap_batch.projects import load_projects
from esap_batch.request import examine, resolve, settled
from esap_batch.runtimes import runtime_for
from esap_batch.selection import SelectionRefused
from esap_batch.use_cases import ska_hi_cube as use_case
from esap_batch.workflows import load_workflow
from localgrid.samples.ska_hi_cube import metadata
from tests.unit.esap_batch.test_selection import FakeCatalogue

CONFIGURATION = Path(__file__).parents[4] / "config"
FLOW = load_workflow(CONFIGURATION, "ska_hi_cube")
IDENTITIES = load_identities(CONFIGURATION / "identity.yaml")
PROJECTS = load_projects(CONFIGURATION / "projects.yaml")
CUBE, ARCHIVE = "/ctao/ska/cubes/a", "/ctao/ska/flows/b/flow.tar.gz"
DIRECTORY = "/ctao/ska/hi_sources/ska-hi-cube-0123-g1"
CUT = {"subcube_pixels": 48, "subcube_channels": 64}
RULES = "rule all:\n    output: 'a.fits'\n"
OWN: dict[str, Any] = {"processor": "snakemake", "snakefile": RULES, "workflow_outputs": ["a.fits"]}


class CubeCatalogue(FakeCatalogue):
    """A lake with cubes: a dataset with one file each, and a text beside it."""

    def put_cube(self, name: str = CUBE, **changes: Any) -> str:
        self.rows[name] = {"did_type": "DATASET", "is_open": False, "bytes": None, "adler32": None}
        self.known[name] = {**metadata(), **changes}
        self.put_file(f"{name}/cube.fits")
        self.put_file(f"{name}/readme.txt")
        return name

    def put_file(self, lfn: str, size: int = 1000, **known: Any) -> None:
        self.rows[lfn] = {"did_type": "FILE", "is_open": None, "bytes": size, "adler32": "0000abcd"}
        if known:
            self.known[lfn.rsplit("/", 1)[0]] = known


@pytest.fixture
def lake() -> CubeCatalogue:
    made = CubeCatalogue()
    made.put_cube()
    made.put_file(ARCHIVE, project="HI-2026-016")
    return made


def problems(**conf: Any) -> list[str]:
    return [str(p) for p in examine({"cube": CUBE, **conf}, FLOW, use_case.check)]


def chosen(lake: CubeCatalogue, user: str = "sofia", **conf: Any) -> tuple[dict[str, Any], CubeSelection]:
    given = {"cube": CUBE, **CUT, **conf}
    assert [str(p) for p in examine(given, FLOW, use_case.check)] == []
    steering = resolve(given, FLOW, user, "ska_hi_cube/run", "2026-11-21T10:00:00")
    return steering, use_case.choose(steering, IDENTITIES.identity_of(user), PROJECTS, lake)


def planned(lake: CubeCatalogue, **conf: Any) -> dict[str, Any]:
    """Give the steering file as the tasks after the selection have it."""
    steering, selection = chosen(lake, **conf)
    places = {f.lfn: ["CSCS-DISK"] for f in selection.inputs}
    full = settled(steering, FLOW, selection.digest, selection.needs(places), selection.about)
    return {**full, "selected": json.loads(json.dumps(selection.document()))}


def inputs_of(steering: dict[str, Any]) -> list[InputFile]:
    return [InputFile(**f) for f in steering["selected"]["inputs"]]


def test_a_cube_is_found_by_its_name_and_cut(lake: CubeCatalogue) -> None:
    steering = planned(lake)
    assert steering["needs"]["jobs"] == 4
    assert steering["needs"]["input_rses"] == {"CSCS-DISK": 1000}
    assert steering["needs"]["cells_per_job"] == (48 + 8) * (48 + 8) * 64
    assert steering["selected"]["overlap"] == [8, 3]  # as far as the largest kernels reach
    assert steering["about"]["cube_shape"] == "96 x 96 x 64"
    assert steering["about"]["project"] == "HI-2026-016"


def test_a_basket_may_name_the_cube_among_other_things(lake: CubeCatalogue) -> None:
    item = json.dumps({"archive": "rucio", "record": {"scope": "ska", "name": f"{CUBE}/cube.fits"}})
    other = json.dumps({"archive": "zenodo", "record": {"id": 1}})
    lake.known[f"{CUBE}/cube.fits"] = lake.known[CUBE]
    _, selection = chosen(lake, cube="", basket=[other, item])
    assert selection.cube.lfn == f"{CUBE}/cube.fits"
    assert [u.entry.source for u in selection.unmatched] == ["basket.0"]


def test_how_a_cube_is_cut_does_not_change_the_product(lake: CubeCatalogue) -> None:
    one, other = planned(lake), planned(lake, subcube_pixels=20, overlap_pixels=11, cores=4)
    assert one["needs"]["jobs"] < other["needs"]["jobs"]
    assert one["fingerprint"] == other["fingerprint"]
    assert planned(lake, threshold_sigma=5)["fingerprint"] != one["fingerprint"]
    lake.rows[f"{CUBE}/cube.fits"]["adler32"] = "00000001"
    assert planned(lake)["fingerprint"] != one["fingerprint"]


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"cube": "/ctao/ska/cubes/lost"}, "it is not in the data lake"),
        ({"cube": "no name"}, "cube = 'no name': LFN 'no name': allowed is /<vo>/<scope>/<path>"),
        ({"cube": "/ctao/dl3/x"}, "no rule for scope dl3: an HI cube has scope ska"),
        ({"spatial_kernels": [0], "overlap_pixels": 3}, "overlap_pixels = 3: allowed at least 4"),
        ({"subcube_pixels": 8, "subcube_channels": 4}, "they make 2304 sub-cubes: allowed are at most 2000"),
        ({**OWN, "snakefile": "", "workflow_archive": "/ctao/ska/x/y"}, "allowed is a file in the data lake"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_reason(
    lake: CubeCatalogue, conf: dict[str, Any], told: str
) -> None:
    with pytest.raises(SelectionRefused) as refusal:
        chosen(lake, **conf)
    assert told in str(refusal.value)


def test_one_run_searches_one_cube(lake: CubeCatalogue) -> None:
    lake.put_cube("/ctao/ska/cubes/z", obs_id=17)
    item = json.dumps({"archive": "rucio", "record": {"scope": "ska", "name": "/ctao/ska/cubes/z"}})
    with pytest.raises(SelectionRefused, match=r"cube: 2 are named: .*allowed is one for a run"):
        chosen(lake, basket=[item])


@pytest.mark.parametrize("axes", [{"naxis4": 1}, {"naxis3": 1, "naxis4": 64}])
def test_an_axis_of_length_1_is_no_axis_of_the_cube(axes: dict[str, Any]) -> None:
    lake = CubeCatalogue()
    lake.put_cube(**axes)
    assert chosen(lake)[1].shape == (96, 96, 64)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"naxis3": None}, "naxis3 = None: allowed is a whole number above 0"),
        ({"naxis1": 0}, "naxis1 = 0: allowed"),
        ({"naxis2": 96.5}, "naxis2 = 96.5: allowed is a whole number"),
        ({"naxis4": 2}, "naxis3 = 64, naxis4 = 2: allowed is 1 for one of them"),
        ({"naxis4": "one"}, "naxis4 = 'one': allowed is a whole number above 0"),
        ({"bmaj_deg": "wide"}, "bmaj_deg = 'wide': allowed is a number above 0, in deg"),
        ({"pixel_deg": True}, "pixel_deg = True: allowed"),
    ],
)
def test_a_cube_that_does_not_say_its_size_is_refused(changes: dict[str, Any], told: str) -> None:
    lake = CubeCatalogue()
    lake.put_cube(**changes)
    with pytest.raises(SelectionRefused) as refusal:
        chosen(lake)
    assert told in str(refusal.value)


def test_cubes_and_archives_of_others_are_not_read(lake: CubeCatalogue) -> None:
    lake.put_file("/ctao/ska/flows/c/flow.tar", project="PI-2026-001")
    with pytest.raises(SelectionRefused, match="user sofia may not read project PI-2026-001"):
        chosen(lake, **{**OWN, "snakefile": "", "workflow_archive": "/ctao/ska/flows/c/flow.tar"})
    lake.put_cube(project="PI-2026-001")
    with pytest.raises(SelectionRefused, match="user sofia may not read project PI-2026-001"):
        chosen(lake)


def test_an_archive_has_a_largest_size(lake: CubeCatalogue) -> None:
    lake.put_file(ARCHIVE, size=50_000_001)
    with pytest.raises(SelectionRefused, match="50000001 bytes: allowed at most 50000000"):
        chosen(lake, **{**OWN, "snakefile": "", "workflow_archive": ARCHIVE})


def test_each_sub_cube_is_a_job_that_knows_its_own_cells_only(lake: CubeCatalogue) -> None:
    steering = planned(lake)
    jobs = use_case.first_jobs(steering, DIRECTORY, inputs_of(steering))
    assert [j.index for j in jobs] == [0, 1, 2, 3]
    for job in jobs:
        assert [i.name for i in job.inputs] == ["cube.fits"]
        assert [s["index"] for s in job.files[CONFIG]["subcubes"]] == [job.index]
        (output,) = job.outputs
        assert output.validator == ("esap-ska", "validate", output.name)
        assert output.name in job.command
    assert jobs[0].files[CONFIG]["date"] == "2026-11-21T10:00:00"


def test_the_merge_reads_parts_and_not_the_cube(lake: CubeCatalogue) -> None:
    steering = planned(lake)
    parts = [InputFile(f"part_{n:05d}.fits.gz", f"/ctao/esap/w/part_{n:05d}.fits.gz", 1, "1") for n in (1, 0)]
    (job,) = use_case.last_jobs(steering, DIRECTORY, [*inputs_of(steering), *parts])
    assert job.command[-2:] == ("part_00000.fits.gz", "part_00001.fits.gz")
    assert [i.name for i in job.inputs] == list(job.command[-2:])
    assert {o.name for o in job.outputs} == {"moments.fits", "catalogue.vot", "mask.fits.gz", "overview.png"}
    assert all(o.lfn.startswith(f"{DIRECTORY}/") and o.validator for o in job.outputs)


def test_a_workflow_of_ones_own_gets_cube_configuration_and_cores(lake: CubeCatalogue) -> None:
    steering = planned(lake, **OWN, cores=3, workflow_config='{"depth": 2}')
    (first,) = use_case.first_jobs(steering, DIRECTORY, inputs_of(steering))
    assert first.command[:2] == ("esap-ska", "inspect")
    about = InputFile("cube.json", "/ctao/esap/w/cube.json", 1, "1")
    (job,) = use_case.last_jobs(steering, DIRECTORY, [*inputs_of(steering), about])
    assert job.command == ("esap-ska", "workflow", "--config", CONFIG)
    assert job.files[SNAKEFILE] == RULES
    assert job.files[WORKFLOW]["depth"] == 2
    assert job.files[WORKFLOW]["cube"] == "cube.fits"
    assert job.files[CONFIG]["outputs"] == ["a.fits"]
    assert [i.name for i in job.inputs] == ["cube.fits", "cube.json"]
    assert [o.lfn for o in job.outputs] == [f"{DIRECTORY}/a.fits"]
    assert job.limits.cores == 3


def test_our_own_workflow_makes_the_usual_product(lake: CubeCatalogue) -> None:
    steering = planned(lake, processor="snakemake")
    (job,) = use_case.last_jobs(steering, DIRECTORY, inputs_of(steering))
    assert job.files[CONFIG]["snakefile"] is None
    assert job.files[WORKFLOW]["subcubes"] == [0, 1, 2, 3]
    assert len(job.files[SETTINGS]["subcubes"]) == 4
    assert {o.name for o in job.outputs} == set(use_case.RESULTS)


def test_an_archive_is_an_input_of_the_job_and_decides_the_product(lake: CubeCatalogue) -> None:
    conf = {"processor": "snakemake", "workflow_archive": ARCHIVE, "workflow_outputs": ["a.fits"]}
    steering = planned(lake, **conf)
    (job,) = use_case.last_jobs(steering, DIRECTORY, inputs_of(steering))
    assert [i.name for i in job.inputs] == ["cube.fits", "flow.tar.gz"]
    assert job.files[CONFIG]["archive"] == "flow.tar.gz"
    assert steering["about"]["workflow"] == ARCHIVE
    lake.rows[ARCHIVE]["adler32"] = "00000001"
    assert planned(lake, **conf)["fingerprint"] != steering["fingerprint"]


def test_greetings_go_the_same_way(lake: CubeCatalogue) -> None:
    steering = planned(lake, processor="esap-noop")
    assert len(use_case.first_jobs(steering, DIRECTORY, inputs_of(steering))) == 4
    assert len(use_case.last_jobs(steering, DIRECTORY)) == 1


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"cube": ""}, "nothing says which cube to search"),
        ({"spectral_kernels": [4]}, "spectral_kernels = [4]: allowed odd numbers, or 0"),
        ({"overlap_pixels": 7}, "overlap_pixels = 7: allowed at least 8"),
        ({"overlap_channels": 2}, "overlap_channels = 2: allowed at least 3"),
        ({"snakefile": RULES}, "allowed nothing with processor = esap-ska"),
        ({**OWN, "workflow_outputs": []}, "nothing would come of the workflow"),
        ({"processor": "snakemake", "workflow_outputs": ["a"]}, "allowed nothing without snakefile or"),
        ({**OWN, "workflow_archive": ARCHIVE}, "allowed nothing beside a snakefile"),
        ({**OWN, "workflow_outputs": ["a", "a"]}, "each name once"),
        ({**OWN, "workflow_outputs": ["cube.json"]}, "none of the job's own"),
        ({**OWN, "workflow_outputs": ["../a"]}, "workflow_outputs.0"),
        ({**OWN, "workflow_outputs": ["a b"]}, "workflow_outputs.0"),
        ({**OWN, "workflow_config": "[1]"}, "allowed a JSON object (it is none)"),
        ({**OWN, "workflow_config": "{"}, "allowed a JSON object"),
        ({**OWN, "workflow_config": '{"cube": "x"}'}, "members other than cube, about"),
        ({**OWN, "snakefile": "x" * 40001}, "at most 40000 characters"),
    ],
)
def test_wrong_requests_are_told_with_what_is_allowed(conf: dict[str, Any], told: str) -> None:
    assert any(told in p for p in problems(**conf)), problems(**conf)


def test_the_facilities_of_the_form_can_run_it(lake: CubeCatalogue) -> None:
    needs = use_case.requirements(planned(lake), IDENTITIES.identity_of("sofia"))
    facilities = load_facilities(CONFIGURATION / "facilities.yaml")
    found = [r.facility for r in match(needs, facilities, {}).ranked]
    runtimes = {f.name: runtime_for(f, needs.runtimes, ["esap-ska"])["type"] for f in found}
    assert runtimes == {"escape-local": "plain", "fair-slurm": "rootfs"}  # which has an image of it
    assert needs.n_jobs == 4
    assert needs.memory_mb < 2000


def test_larger_sub_cubes_need_more_memory(lake: CubeCatalogue) -> None:
    lake.put_cube(naxis1=400, naxis2=400, naxis3=200)
    sofia = IDENTITIES.identity_of("sofia")
    small, large = (
        use_case.requirements(planned(lake, subcube_pixels=n, subcube_channels=200), sofia)
        for n in (100, 400)
    )
    assert small.memory_mb < large.memory_mb
    assert small.disk_mb == large.disk_mb > 2 * 400 * 400 * 200 * 8 / 1e6
