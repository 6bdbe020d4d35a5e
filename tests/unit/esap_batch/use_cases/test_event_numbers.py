from __future__ import annotations

import math
import random
from bisect import bisect
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.use_cases.event_numbers import (
    energy_edges,
    interpolated,
    power_law_fractions,
    required_events,
    split_evenly,
    triggered_shares,
)

RANGE = (0.02, 200.0)
EDGES = energy_edges(*RANGE, 5)


def toy_efficiency(energy: float) -> float:
    return 0.1 / (1 + (0.05 / energy) ** 3)


def toy_shares(index: float, edges: list[float] = EDGES) -> list[list[float]]:
    centres = [math.sqrt(low * high) for low, high in pairwise(edges)]
    return triggered_shares(edges, index, [[toy_efficiency(e) for e in centres]], (edges[0], edges[-1]))


def test_an_index_next_to_minus_one_is_as_good_as_minus_one() -> None:
    assert toy_shares(-1.0000000000000002)[0] == pytest.approx(toy_shares(-1.0)[0], rel=1e-9)


@pytest.mark.parametrize(("delta", "index", "figure"), [(0.1, -2.0, 1.7e7), (0.02, -2.6, 5.8e10)])
def test_the_known_figures(delta: float, index: float, figure: float) -> None:
    assert required_events(toy_shares(index), uncertainty=delta) == pytest.approx(figure, rel=0.02)


@given(st.floats(-4, -1), st.floats(0.01, 0.5))
def test_the_result_is_the_smallest_number_that_does(index: float, delta: float) -> None:
    shares = toy_shares(index)
    n = required_events(shares, uncertainty=delta)

    def reached(events: float) -> bool:
        return all(events * p * (1 + 1e-9) >= 1 / delta**2 for p in shares[0])

    assert reached(n)
    assert not reached(n * (1 - 1e-6) - 1)


def test_thrown_showers_really_trigger_often_enough() -> None:
    edges = energy_edges(0.1, 10, 5)
    shares = toy_shares(-2.0, edges)
    n, chance = int(required_events(shares, uncertainty=0.1)), random.Random(1)
    counts = [0] * (len(edges) - 1)
    for _ in range(n):
        energy = 1 / (10 - chance.random() * (10 - 0.1))  # E^-2 between 0.1 and 10
        if chance.random() < toy_efficiency(energy):
            counts[min(bisect(edges, energy) - 1, len(counts) - 1)] += 1
    expected = [n * p for p in shares[0]]
    assert min(expected) == pytest.approx(100, rel=0.01)
    # Efficiency is taken at the middle of a bin: a few percent, beside the spread of counting.
    assert all(abs(c - e) < 5 * math.sqrt(e) + 0.05 * e for c, e in zip(counts, expected, strict=True))


def test_a_band_of_offsets_that_triggers_less_decides() -> None:
    fractions = [[0.5, 0.25], [0.5, 0.01]]
    assert required_events(fractions, uncertainty=0.1) == 10_000
    assert required_events(fractions[:1], uncertainty=0.1) == 400


@pytest.mark.parametrize("shares", [[[0.0, 0.5]], [[0.0]]])
def test_a_bin_that_never_triggers_can_not_be_reached(shares: list[list[float]]) -> None:
    assert required_events(shares, uncertainty=0.1) == math.inf


def test_no_bins_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        required_events([[]], uncertainty=0.1)


@given(st.floats(-5, 0))
def test_the_shares_of_a_power_law_fill_what_is_thrown(index: float) -> None:
    assert sum(power_law_fractions(EDGES, index, RANGE)) == pytest.approx(1)
    wider = power_law_fractions(EDGES, index, (0.01, 400.0))
    assert sum(wider) < 1
    assert all(w > 0 for w in wider)


def test_the_power_law_with_a_logarithm() -> None:
    assert power_law_fractions([1, 10, 100], -1.0, (1, 1000)) == pytest.approx([1 / 3, 1 / 3])
    around = power_law_fractions([1, 10, 100], -1.0 + 1e-9, (1, 1000))
    assert around == pytest.approx([1 / 3, 1 / 3], rel=1e-5)


@given(st.floats(0.02, 100), st.floats(1.6, 10_000), st.integers(1, 20))
def test_bins_cover_the_range_and_are_wide_enough(low: float, ratio: float, per_decade: int) -> None:
    edges = energy_edges(low, low * ratio, per_decade)
    assert (edges[0], edges[-1]) == (low, low * ratio)
    widths = [math.log10(b / a) for a, b in pairwise(edges)]
    assert len(widths) == 1 or min(widths) >= 1 / per_decade * (1 - 1e-9)
    assert max(widths) == pytest.approx(min(widths))


def test_the_usual_bins() -> None:
    assert len(EDGES) == 21
    assert EDGES[10] == pytest.approx(2.0)


def test_a_table_between_on_and_beyond_its_points() -> None:
    centres, values = [1.0, 10.0, 100.0], [0.01, 0.1, 0.4]
    assert interpolated(1.0, centres, values) == pytest.approx(0.01)
    assert interpolated(10.0, centres, values) == pytest.approx(0.1)
    assert interpolated(math.sqrt(10), centres, values) == pytest.approx(math.sqrt(0.001))
    assert interpolated(0.1, centres, values) == pytest.approx(0.001)
    assert interpolated(1e6, centres, values) == 0.4
    assert interpolated(2.0, centres, [0.0, 0.1, 0.4]) == 0.0


@given(st.integers(1, 10**12), st.integers(1, 500))
def test_parts_are_even(total: int, parts: int) -> None:
    split = split_evenly(total, parts)
    assert sum(split) == total
    assert len(split) == parts
    assert max(split) - min(split) <= 1
