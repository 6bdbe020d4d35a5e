from __future__ import annotations

import io
import json
import sys

import pytest

from runner.esap_slurm import program


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> dict[str, dict[str, str]]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert program.work(["call"]) == 0
    found: dict[str, dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("text", "said"), [("{", "JSONDecodeError"), ('{"ask": "sudo"}', "KeyError: 'sudo'")]
)
def test_a_question_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    error = call(monkeypatch, capsys, text)["error"]
    assert error["kind"] == "refused"
    assert said in error["message"]


def test_a_wrong_command_line_says_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.work([])
    assert "allowed are: call, run" in capsys.readouterr().err
