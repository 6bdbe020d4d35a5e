from __future__ import annotations

from runner.esap_runner.reasons import EXIT_CODES
from tests.unit.runner.conftest import PROJECT


def test_exit_codes_are_documented_as_they_are() -> None:
    documented = {}
    for line in (PROJECT / "docs" / "runner.md").read_text().splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].isdigit():
            documented[cells[1]] = int(cells[0])
    assert documented == EXIT_CODES
