from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood


@pytest.mark.parametrize("kind", [BackendUnavailable, BackendRefused])
def test_an_error_names_system_address_and_cause(kind: type[BackendUnavailable | BackendRefused]) -> None:
    error = kind("Rucio", "http://lake", ConnectionError("no route"))
    assert all(part in str(error) for part in ("Rucio", "http://lake", "no route"))
    assert error.system == "Rucio"


def test_a_system_that_is_down_is_worth_another_try_and_says_what_to_do_after_that() -> None:
    error = BackendUnavailable("DiracX", "http://d", "503")
    assert isinstance(error, AirflowException)
    assert not isinstance(error, AirflowFailException)
    assert "clear it once DiracX is back" in str(error)


def test_down_and_no_are_told_apart() -> None:
    assert not issubclass(BackendRefused, BackendUnavailable)
    assert not issubclass(BackendUnavailable, BackendRefused)


def test_only_what_cannot_heal_ends_a_task_without_another_try() -> None:
    assert isinstance(
        RefusedForGood("Rucio", "http://lake", "no rights"), (BackendRefused, AirflowFailException)
    )
    assert issubclass(RefusedForGood, AirflowFailException)
    assert not issubclass(BackendRefused, AirflowFailException)
