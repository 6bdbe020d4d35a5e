from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.subcubes import SubCube, cut, least_overlap

SIDES = st.integers(1, 12)


@given(shape=st.tuples(SIDES, SIDES, SIDES), pixels=SIDES, channels=SIDES)
def test_every_cell_is_in_exactly_one_sub_cube(
    shape: tuple[int, int, int], pixels: int, channels: int
) -> None:
    seen: dict[tuple[int, ...], int] = {}
    for one in cut(shape, pixels, channels):
        assert one.x[1] - one.x[0] <= pixels
        assert one.y[1] - one.y[0] <= pixels
        assert one.channel[1] - one.channel[0] <= channels
        for cell in product(range(*one.x), range(*one.y), range(*one.channel)):
            assert cell not in seen
            seen[cell] = one.index
    assert len(seen) == shape[0] * shape[1] * shape[2]
    assert sorted(set(seen.values())) == list(range(len(set(seen.values()))))


def test_sub_cubes_are_as_few_and_as_equal_as_can_be() -> None:
    found = cut((100, 96, 64), 48, 64)
    assert len(found) == 6
    assert [s.x for s in found[:3]] == [(0, 33), (33, 66), (66, 100)]
    assert found[0].document() == {"index": 0, "x": [0, 33], "y": [0, 48], "channel": [0, 64]}
    assert found[0].label == "x 0 to 32, y 0 to 47, channels 0 to 63"


@pytest.mark.parametrize("given", [((0, 1, 1), 1, 1), ((1, 1, 1), 0, 1), ((1, 1, 1), 1, 0)])
def test_nothing_can_be_cut_into_nothing(given: tuple[tuple[int, int, int], int, int]) -> None:
    with pytest.raises(ValueError, match="allowed from 1 on"):
        cut(*given)


def test_an_overlap_ends_at_the_edge_of_the_cube() -> None:
    corner = SubCube(0, (0, 10), (10, 20), (5, 8))
    assert corner.read_cells((20, 20, 9), (4, 2)) == 14 * 14 * 6


@pytest.mark.parametrize(
    ("spatial", "spectral", "beam", "least"),
    [([0], [0], 0, (0, 0)), ([0, 6], [0, 7], 0, (8, 3)), ([3], [3], 11.2, (12, 1)), ([0], [1], 3.5, (4, 0))],
)
def test_an_overlap_is_at_least_what_kernels_and_beam_need(
    spatial: list[float], spectral: list[int], beam: float, least: tuple[int, int]
) -> None:
    assert least_overlap(spatial, spectral, beam) == least
