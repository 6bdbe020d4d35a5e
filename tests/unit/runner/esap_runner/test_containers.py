from __future__ import annotations

from runner.esap_runner.containers import csv_line


def test_a_field_with_quotes_stays_one_field() -> None:
    assert csv_line("ro", 'src=/a"b') == 'ro,"src=/a""b"'
