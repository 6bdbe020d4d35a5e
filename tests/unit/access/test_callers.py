from __future__ import annotations

import pytest

from access.callers import Caller, caller, serving


def test_a_caller_lasts_as_long_as_the_request_even_when_it_fails() -> None:
    assert caller() is None
    who = Caller()
    with serving(who):
        assert caller() is who
        with serving(None):
            assert caller() is None
        assert caller() is who

    def fail() -> None:
        with serving(who):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert caller() is None
