"""What goes wrong between this service and a system it talks to."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class BackendUnavailable(AirflowException):
    """A system does not answer; the task is worth another try."""

    def __init__(self, system: str, url: str, cause: object) -> None:
        super().__init__(
            f"{system} at {url} does not answer ({cause}). Nothing is lost: the task is tried again, "
            f"and when it has failed for good, clear it once {system} is back."
        )
        self.system = system


class BackendRefused(AirflowException):
    """A system answers no; trying the same again does not help."""

    def __init__(self, system: str, url: str, cause: object) -> None:
        super().__init__(f"{system} at {url} refuses: {cause}")
        self.system = system


class RefusedForGood(BackendRefused, AirflowFailException):
    """It is a matter of rights or settings: the task fails without another try."""
