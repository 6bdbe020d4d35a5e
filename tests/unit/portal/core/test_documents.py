"""JSON that is taken, and JSON that is not."""

from __future__ import annotations

import pytest

from portal.core.documents import DEEPEST, LARGEST, read_json, read_object
from portal.core.refusals import BadRequest


def test_what_is_sound_is_read() -> None:
    assert read_object(b'{"a": [1, 2.5, "x\\ny", null, true]}') == {"a": [1, 2.5, "x\ny", None, True]}
    assert read_json(str(LARGEST).encode()) == LARGEST


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\xff", "UTF-8"),
        (b"", "Expecting value"),
        (b'{"a": 1, "a": 2}', "given more than once"),
        (b"NaN", "no finite number"),
        (b"1e999", "out of range"),
        (b"9" * 5000, "out of range"),
        (str(LARGEST + 1).encode(), "out of range"),
        (b"[" * 100_000, "nested"),
        (b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2), "nested"),
        (b'"\\u0000"', "control characters"),
        (b'"\\ud800"', "control characters"),
        (b'{"\\u0007": 1}', "control characters"),
    ],
)
def test_what_readers_disagree_about_or_nothing_can_store_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        read_json(raw, "file x")


def test_an_object_is_wanted() -> None:
    with pytest.raises(BadRequest, match="body of the request: allowed is a JSON object"):
        read_object(b"[]")
