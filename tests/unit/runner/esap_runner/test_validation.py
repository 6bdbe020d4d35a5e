from __future__ import annotations

import pytest

from tests.unit.runner.conftest import Node, sh


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("echo no json", "printed no JSON"),
        ("kill -9 $$", "printed no JSON"),
        ("echo '[]'", "verdict null"),
        ('echo \'{"verdict": "valid"}\'; exit 1', 'verdict "valid"'),
        ('echo \'{"verdict": "fine"}\'', 'verdict "fine"'),
        ("sleep 300", "was stopped"),
    ],
)
def test_validator_that_does_not_do_its_work(node: Node, script: str, named: str) -> None:
    job = node.job(sh("echo x > a"), outputs=[node.output("a", sh(script))], limits={"wall_time_s": 1})
    outcome = node.run(job)
    assert (outcome.code, outcome.report["reason"]) == (41, "VALIDATOR_FAILED")
    assert named in outcome.report["message"]
    assert not node.storage.exists()


def test_unreadable_is_a_verdict(node: Node) -> None:
    job = node.job(sh("echo x > a"), outputs=[node.output("a", ["esap-noop", "validate", "a"])])
    outcome = node.run(job)
    assert outcome.code == 0
    assert outcome.report["validation"][0]["verdict"] == "unreadable"
