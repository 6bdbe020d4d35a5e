from __future__ import annotations

from tests.unit.runner.conftest import Node, sh


def test_log_tail_is_the_end_of_both_streams(node: Node) -> None:
    outcome = node.run(node.job(sh("seq 1 5000; echo last >&2")))
    tail = outcome.report["payload_log_tail"].splitlines()
    assert tail == [*(str(n) for n in range(4982, 5001)), "last"]
    assert "\n5000\nlast\n" in outcome.stdout
    assert (node.directory / "payload.log").read_text().startswith("1\n2\n")
