from __future__ import annotations

from dataclasses import replace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.identity import IdentityRefused
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from hooks.backends import facility_named
from hooks.broker import Broker
from hooks.lake_outputs import OutputLake, Replica
from operators import site as site_module
from operators.site import Site, identity_of, owner_of, run_key
from tests.unit.conftest import GROUP, RUN, World


def test_a_run_is_named_across_dags_and_belongs_to_who_triggered_it(world: World) -> None:
    context = world.context(user="bob", conf={"owner": "admin", "triggering_user_name": "admin"})
    assert (run_key(context), owner_of(context)) == (RUN, "bob")


def test_the_back_end_is_opened_once_with_the_users_own_identity(world: World) -> None:
    site = Site.of({"facility": "lapalma"}, "carol")
    assert site.backend is site.backend
    assert world.opened == [{"type": "dirac", "connection": "dirac_local", "user": "carol", "owner": "carol"}]


def test_a_site_is_found_again_by_what_it_says_of_itself(world: World) -> None:
    site = Site.of({"facility": "lapalma", "storage_rse": "CSCS-DISK", "reasons": []}, "alice")
    assert site.where == {"facility": "lapalma", "storage_rse": "CSCS-DISK"}
    assert Site.of(site.where, "alice").facility == site.facility
    assert Site.of({"facility": "lapalma"}, "alice").where["storage_rse"] == "LAPALMA-DISK"


def test_an_unknown_user_has_no_site(world: World) -> None:
    with pytest.raises(IdentityRefused, match="mallory"):
        Site.of({"facility": "lapalma"}, "mallory")


def test_what_somebody_has_begun_who_is_in_no_group_any_more_can_be_ended(world: World) -> None:
    site = Site.of({"facility": "lapalma"}, "mallory", closing=True)
    assert (site.backend_ref["user"], site.backend_ref["owner"]) == ("mallory", "mallory")
    assert not site.identity.workflows


def test_configuration_is_found_by_name(world: World) -> None:
    assert facility_named("cscs").storage_rse == "CSCS-DISK"
    assert identity_of("dave").experiments == {"km3net"}


def test_jobs_learn_where_their_outputs_go_and_nothing_else_changes(world: World) -> None:
    lfn = "/ctao/esap/x/out.json"
    (job,) = world.site().located([JobSpec(3, ("run",), outputs=(OutputSpec("o", lfn, ("check",)),))])
    expected = OutputSpec("o", lfn, ("check",), pfn=world.lake.pfns("LAPALMA-DISK", [lfn])[lfn])
    assert job == JobSpec(3, ("run",), outputs=(expected,))


def test_a_document_is_kept_in_the_work_area_and_recalled(world: World) -> None:
    reference = world.site().keep(GROUP, "a.json", {"x": 1})
    assert reference["lfn"] == f"/ctao/esap/work/{GROUP}/a.json"
    assert world.path(reference["lfn"]).is_file()
    assert world.site().recall(reference) == {"x": 1}


def test_a_document_that_is_gone_or_changed_is_never_taken(world: World) -> None:
    site = world.site()
    reference = site.keep(GROUP, "a.json", {"x": 1})
    world.path(reference["lfn"]).write_text('{"x": 2}')
    with pytest.raises(
        AirflowFailException, match=r"a\.json has changed on LAPALMA-DISK: clear the submitting task"
    ):
        site.recall(reference)
    world.path(reference["lfn"]).unlink()
    with pytest.raises(AirflowFailException, match="is gone"):
        site.recall(reference)


def test_the_journal_gives_the_batch_back(world: World) -> None:
    batch = world.site().batch(world.submission(2))
    assert batch.group == GROUP
    assert [job.outputs[0].pfn for job in batch.jobs] == [
        f"file://localhost:0{world.root}/LAPALMA-DISK{o.lfn}" for job in world.jobs(2) for o in job.outputs
    ]


class FakeBroker:
    """Knows the groups of some users."""

    def __init__(self, **groups: list[str]) -> None:
        self.known = groups

    def groups(self, user: str) -> list[str] | None:
        return self.known.get(user)


def test_groups_of_a_users_token_come_before_the_local_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeBroker(dave=["ctao/users"], erin=["km3net/users"], alice=["no/such"])
    monkeypatch.setattr(Broker, "standing", lambda: broker)
    assert identity_of("dave").experiments == {"ctao"}
    assert identity_of("erin").experiments == {"km3net"}
    assert identity_of("bob").experiments == {"ctao"}  # has never come with a token
    for nobody in ("alice", "mallory", None):
        with pytest.raises(IdentityRefused):
            identity_of(nobody)


def test_a_login_must_last_for_the_longest_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(site_module, "require_login", lambda _ref, seconds: asked.append(seconds))
    limits = [Limits(wall_time_s=60), Limits(wall_time_s=900), Limits()]
    world.site().require_login(JobSpec(n, ("run",), limits=one) for n, one in enumerate(limits))
    world.site().require_login([])
    assert asked == [max(one.wall_time_s for one in limits)]


def test_inputs_that_jobs_fetch_themselves_come_from_the_nearest_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = {"/ctao/esap/a": [Replica("NEAR", "file:///near/a"), Replica("FAR", "file:///far/a")]}
    monkeypatch.setattr(OutputLake, "replicas", lambda _lake, lfns: {n: copies[n] for n in lfns})
    site = world.site()
    far = replace(site, facility=replace(site.facility, fetches_inputs=True))
    job = JobSpec(
        0,
        ("run",),
        inputs=(
            InputFile("a", "/ctao/esap/a", 1, "00000001"),
            InputFile("b", "/ctao/esap/b", 1, "00000001", "x"),
        ),
        outputs=(OutputSpec("o", "/ctao/esap/o"),),
    )
    (located,) = far.located([job])
    assert [f.pfn for f in located.inputs] == ["file:///near/a", "x"]
    assert located.outputs[0].pfn == site.pfns(["/ctao/esap/o"])["/ctao/esap/o"]
    (staged,) = site.located([job])
    assert staged.inputs[0].pfn == site.pfns(["/ctao/esap/a"])["/ctao/esap/a"]
