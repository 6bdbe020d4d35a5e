from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.jobs import InputFile
from esap_batch.observations import Observation
from esap_batch.partition import Split, Splitting, Unit, divide


def observation(obs_id: int, files: int = 1, **metadata: object) -> Observation:
    lfns = [f"/ctao/dl3/{obs_id}/dl3_{n}.fits.gz" for n in range(files)]
    inputs = tuple(InputFile(lfn.rsplit("/", 1)[-1], lfn, 1, "00000001") for lfn in lfns)
    return Observation(obs_id, f"/ctao/dl3/{obs_id}", metadata, inputs)


def layout(units: list[Unit]) -> list[list[int]]:
    return [[p.obs_id for p in u.parts] for u in units]


def test_one_job_an_observation_in_the_order_of_their_numbers() -> None:
    units = divide([observation(3), observation(1), observation(2)], Splitting(Split.PER_OBSERVATION))
    assert layout(units) == [[1], [2], [3]]
    assert [u.label for u in units] == ["observation 1", "observation 2", "observation 3"]


def test_n_files_a_job_over_the_borders_of_observations() -> None:
    units = divide([observation(1, 3), observation(2, 2)], Splitting(Split.PER_FILES, files=2))
    assert layout(units) == [[1], [1, 2], [2]]
    assert [[f.name for p in u.parts for f in p.files] for u in units] == [
        ["dl3_0.fits.gz", "dl3_1.fits.gz"],
        ["dl3_2.fits.gz", "dl3_0.fits.gz"],
        ["dl3_1.fits.gz"],
    ]
    assert units[1].label == "files 3 to 4"


def test_one_job_for_each_value_of_the_metadata() -> None:
    some = [observation(1, sb_id=8), observation(2, sb_id=7), observation(3, sb_id=8)]
    units = divide(some, Splitting(Split.PER_GROUP, group_by="sb_id"))
    assert layout(units) == [[2], [1, 3]]
    assert [u.label for u in units] == ["sb_id 7", "sb_id 8"]


def test_what_cannot_be_grouped_is_named() -> None:
    with pytest.raises(ValueError, match="group_by = 'sb_id': observations 2, 3 have no such metadata"):
        divide(
            [observation(1, sb_id=1), observation(2), observation(3)],
            Splitting(Split.PER_GROUP, group_by="sb_id"),
        )


def test_jobs_are_filled_up_to_a_size_and_a_larger_file_is_a_job_of_its_own() -> None:
    sizes = {1: 40, 2: 50, 3: 20, 4: 300, 5: 10}
    some = [
        replace(o, files=tuple(replace(f, size=sizes[o.obs_id]) for f in o.files))
        for o in map(observation, sizes)
    ]
    units = divide(some, Splitting(Split.PER_SIZE, size=100))
    assert layout(units) == [[1, 2], [3], [4], [5]]
    assert [u.label for u in units] == ["files 1 to 2", "files 3 to 3", "files 4 to 4", "files 5 to 5"]


@given(
    files=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    how=st.sampled_from(list(Split)),
    count=st.integers(1, 7),
)
def test_every_file_is_in_exactly_one_job(files: list[int], how: Split, count: int) -> None:
    some = [observation(n, number, sb_id=n % 3) for n, number in enumerate(files)]
    units = divide(some, Splitting(how, count, "sb_id", size=count))
    found = Counter(f.lfn for u in units for p in u.parts for f in p.files)
    assert found == Counter(f.lfn for o in some for f in o.files)
    if how in (Split.PER_FILES, Split.PER_SIZE):  # every file is of one byte
        assert all(sum(len(p.files) for p in u.parts) <= count for u in units)
