"""Values of UWS's own parameters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from portal.core.phases import Phase
from portal.core.refusals import BadRequest
from portal.uws import values


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-21T09:30:00Z", datetime(2026, 11, 21, 9, 30)),
        ("2026-11-21T09:30:00", datetime(2026, 11, 21, 9, 30)),
        ("2026-11-21 09:30:00.123456789", datetime(2026, 11, 21, 9, 30, 0, 123456)),
        ("2026-11-21T09:30:00.5Z", datetime(2026, 11, 21, 9, 30, 0, 500000)),
        ("2026-11-21T09:30", datetime(2026, 11, 21, 9, 30)),
        ("2026-11-21", datetime(2026, 11, 21)),
        ("2026-11", datetime(2026, 11, 1)),
        ("2026", datetime(2026, 1, 1)),
    ],
)
def test_times_are_utc(text: str, when: datetime) -> None:
    assert values.moment("AFTER", text) == when.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-21-11",
        "2026-11-21T09",
        "2026-11-21T09:00+01:00",
        "2026-02-30",
        "0000",
        "20261",
        "2\u066026",
    ],
)
def test_other_times_are_refused_by_name(text: str) -> None:
    with pytest.raises(BadRequest, match=r"DESTRUCTION = .*allowed a time in UTC"):
        values.moment("DESTRUCTION", text)


def test_a_time_is_written_as_it_is_read() -> None:
    when = datetime(2026, 11, 21, 9, 30, 0, 7000, tzinfo=UTC)
    assert values.written(when) == "2026-11-21T09:30:00.007Z"
    assert values.moment("T", values.written(when)) == when


@pytest.mark.parametrize("text", ["", "-2", "1.5", "1e3", "x", "\u0663", "9" * 20, "4"])
def test_whole_numbers_have_limits(text: str) -> None:
    assert values.whole("WAIT", "-1", -1, 3) == -1
    assert values.whole("WAIT", " 3 ", -1, 3) == 3
    with pytest.raises(BadRequest, match=r"WAIT = .*allowed a whole number, -1 to 3"):
        values.whole("WAIT", text, -1, 3)


def test_durations_fit_the_schema() -> None:
    assert values.duration("EXECUTIONDURATION", "0") == 0
    assert values.duration("EXECUTIONDURATION", str(2**31 - 1)) == 2**31 - 1
    with pytest.raises(BadRequest):
        values.duration("EXECUTIONDURATION", str(2**31))


def test_phases_are_in_capitals() -> None:
    assert values.phase("PHASE", "ARCHIVED") is Phase.ARCHIVED
    for text in ("pending", "SUCCESS", "", "1"):
        with pytest.raises(BadRequest, match="allowed PENDING, QUEUED"):
            values.phase("PHASE", text)


def test_ids_are_those_that_were_given() -> None:
    assert values.job_id("17") == 17
    for text in ("0", "017", "-1", "1.0", "+1", "\u0663", "9" * 19, "../1", ""):
        assert values.job_id(text) is None
