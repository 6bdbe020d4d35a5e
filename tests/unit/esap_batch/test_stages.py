from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.stages import Moves, parse_stage
from runner.esap_runner.stages import FETCHING, STORING, Stage

SIZES = st.lists(st.integers(0, 10**15), min_size=1, max_size=20)


@given(stage=st.sampled_from([FETCHING, STORING]), sizes=SIZES, done=st.integers(0, 20), part=st.floats(0, 1))
def test_what_the_runner_writes_is_understood(
    stage: str, sizes: list[int], done: int, part: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "stage"
    done = min(done, len(sizes) - 1)
    telling = Stage(str(path), clock=iter(range(0, 10**6, 100)).__next__)
    with telling.told(stage, sizes):
        for size in sizes[:done]:
            telling.begin_file()
            telling.end_file(size)
        moved = int(sizes[done] * part)
        telling.begin_file()
        telling.moved(moved)
        told = parse_stage(path.read_text())
    assert told == (stage, Moves(1, done, len(sizes), sum(sizes[:done]) + moved, sum(sizes)))


@pytest.mark.parametrize("text", ["", "Unknown", "exit 0", "moves no files", "fetching inputs: 1 of 2 files"])
def test_anything_else_is_no_stage(text: str) -> None:
    assert parse_stage(text) is None


def test_moves_are_added_and_multiplied() -> None:
    one = Moves(1, 0, 2, 10, 100)
    assert one + Moves(2, 1, 3, 5, 50) == Moves(3, 1, 5, 15, 150)
    assert one.times(3) == one + one + one


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        (Moves(1, 0, 1, 1_200_000_000, 4_000_000_000), "1 x: 1.2 of 4.0 GB"),
        (Moves(3, 0, 1, 10, 999), "3 x: 10 of 999 B"),
        (Moves(1, 0, 1, 10, 2_500_000), "1 x: 0.0 of 2.5 MB"),
        (Moves(1, 0, 1, 0, 0), "1 x: 0 of 0 B"),
        (Moves(1, 0, 1, 0, 10**19), "1 x: 0.0 of 10000.0 PB"),
    ],
)
def test_both_sizes_have_the_same_unit(moves: Moves, words: str) -> None:
    assert moves.words("x") == words
