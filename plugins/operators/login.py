"""Tasks that wait for a login of their user instead of failing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from hooks.broker import LoginNeeded
from triggers.credentials import CredentialsBack

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")


def goes_on_after_login(step: Callable[..., T]) -> Callable[..., T]:
    """Let a step of a `NeedsLogin` be repeated from its beginning when the user has logged in again.

    No try is used up and no worker is kept. The step must bear to be stopped anywhere and begun again.
    It cannot be `execute`, which only Airflow may call.
    """

    @wraps(step)
    def step_or_wait(self: NeedsLogin, context: Context, *given: Any, **named: Any) -> T:
        try:
            return step(self, context, *given, **named)
        except LoginNeeded as needed:
            self.log.warning("%s", needed.notice)
            _, _, *others = signature(step).bind(self, context, *given, **named).arguments.items()
            self.defer(
                trigger=CredentialsBack(
                    needed.name, needed.user, needed.why, needed.seconds, needed.required
                ),
                method_name="after_login",
                kwargs={"step": step.__name__, "arguments": dict(others)},
            )

    return step_or_wait


class NeedsLogin(BaseOperator):
    """An operator that acts for its run's user at a facility. Its work begins in `begin`."""

    def execute(self, context: Context) -> dict[str, Any]:
        return self.begin(context)

    def begin(self, context: Context) -> dict[str, Any]:
        """Begin the work, or go on where an earlier try was."""
        raise NotImplementedError

    def after_login(
        self, context: Context, event: dict[str, Any], step: str, arguments: dict[str, Any]
    ) -> Any:
        """Repeat what could not be done before."""
        self.log.info("the credentials are back: going on with %s", step)
        return getattr(self, step)(context, **arguments)
