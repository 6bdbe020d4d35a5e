from __future__ import annotations

import logging

import pytest

from operators.work_areas import signature, storage_elements, work_areas
from tests.unit.conftest import GROUP, RUN, World


def test_all_places_of_outputs_are_looked_at() -> None:
    found = storage_elements()
    assert {"LAPALMA-DISK", "CSCS-DISK"} <= set(found)
    assert found == sorted(set(found))


def test_each_work_area_is_found_with_its_owner(world: World) -> None:
    world.site().sign(GROUP, RUN, "submit_jobs")
    world.site().keep("esap-unsigned", "batch.json", {})
    (unsigned, _), (signed, changed) = sorted(
        work_areas(world.site().lake, world.storage, "LAPALMA-DISK"), key=lambda one: GROUP in one[0]
    )
    assert signature(world.storage, signed)["run"] == RUN
    assert signature(world.storage, unsigned) == {}
    assert changed >= world.path(f"/ctao/esap/work/{GROUP}/run.json").stat().st_mtime


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"null",
        b'["run"]',
        b'[["run", "a/b"]]',
        b'{"run": 1}',
        b'{"run": "a/b", "owner": null}',
    ],
)
def test_what_is_no_signature_is_told_and_taken_for_none(
    world: World, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    world.site().sign(GROUP, RUN, "submit_jobs")
    world.path(f"/ctao/esap/work/{GROUP}/run.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert signature(world.storage, world.site().area(GROUP)) == {}
    (told,) = [one.getMessage() for one in caplog.records if "run.json" in one.getMessage()]
    assert "is no signature: " in told
