from __future__ import annotations

import pytest

from runner.esap_runner.streams import Pace
from tests.unit.runner.conftest import Node, sh


def test_transfers_keep_the_pace() -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(2e6, clock=lambda: now[0], sleep=sleep)
    for _ in range(10):
        pace.take(1_000_000)
    assert sum(slept) == pytest.approx(5.0)
    now[0] += 60
    pace.take(1_000_000)
    assert slept[-1] == pytest.approx(0.5)  # what was not used is not saved up
    assert pace.block == 500_000


def test_files_are_moved_under_a_limit_too(node: Node) -> None:
    given = node.give("in.bin", b"a" * 100_000)
    job = node.job(sh("cp in.bin out.bin"), inputs=[given], outputs=[node.output("out.bin")])
    outcome = node.run(None, document=node.document(job) | {"transfer": {"max_mb_per_s": 50}})
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert node.stored("out.bin").read_bytes() == b"a" * 100_000
