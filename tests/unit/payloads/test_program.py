"""The command line that all payloads share, by the programs of one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.payloads.conftest import FITS_BIN, Result, run

PROGRAM = """
import logging, sys
from esap_fits.program import ProgramFailed, command_line, run_program, tell, with_files
from esap_fits.reading import PayloadError
from esap_fits.report import Report

class Tired(ProgramFailed):
    code = 9

def work(options):
    logging.info("works on %s", options.config.name)
    if options.config.name == "refused":
        raise PayloadError("config = refused: allowed is another one")
    if options.config.name == "tired":
        raise Tired("it sleeps")
    report = Report(options.config.name, "toy")
    report.add("file.readable", "FILE", options.config.name != "torn", value=None, allowed="", message="torn")
    return tell(report)

parser, commands = command_line("esap-toy 0.1.0, with friends", "A toy.")
with_files(commands.add_parser("work"), "config", run=work)
sys.exit(run_program(parser, None))
"""


def toy(tmp_path: Path, *arguments: str) -> Result:
    return run([FITS_BIN / "python", "-c", PROGRAM, *arguments], tmp_path)


@pytest.mark.parametrize(("config", "code", "verdict"), [("good", 0, "valid"), ("torn", 2, "unreadable")])
def test_a_verdict_is_on_stdout_and_in_the_exit_code(
    config: str, code: int, verdict: str, tmp_path: Path
) -> None:
    result = toy(tmp_path, "work", "--config", config)
    assert (result.code, json.loads(result.stdout)["verdict"]) == (code, verdict)
    assert result.stderr == f"works on {config}\n"


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [("refused", 3, "config = refused: allowed is another one"), ("tired", 9, "it sleeps")],
)
def test_what_did_not_work_is_one_line_and_an_exit_code(
    config: str, code: int, words: str, tmp_path: Path
) -> None:
    result = toy(tmp_path, "work", "--config", config)
    assert (result.code, result.stdout) == (code, "")
    assert result.stderr.splitlines()[-1] == f"esap-toy work: {words}"


def test_the_version_tells_who_has_made_a_file(tmp_path: Path) -> None:
    assert toy(tmp_path, "--version").stdout == "esap-toy 0.1.0, with friends\n"


@pytest.mark.parametrize("arguments", [[], ["work"], ["play"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], tmp_path: Path) -> None:
    result = toy(tmp_path, *arguments)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: esap-toy")
