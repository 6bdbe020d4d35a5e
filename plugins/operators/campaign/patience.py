"""A task that bears with systems that are down without using up its tries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from hooks.errors import BackendUnavailable
from operators.login import NeedsLogin

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")
PAUSE_S = 60


def bears_silence(step: Callable[..., T]) -> Callable[..., T]:
    """Let a step of a `BearsSilence` be repeated from its beginning while a system does not answer.

    Airflow never takes a used try back, which a task of some weeks would run out of. The step must bear to be
    stopped anywhere and begun again.
    """

    @wraps(step)
    def step_or_wait(self: BearsSilence, context: Context, *given: Any, **named: Any) -> T:
        try:
            return step(self, context, *given, **named)
        except (FileNotFoundError, PermissionError):  # no system is down: waiting does not help
            raise
        except (BackendUnavailable, OSError) as error:
            from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

            now = datetime.now(UTC)
            since = self.silent_since or now
            if (now - since).total_seconds() > self.patience:
                raise
            self.log.warning("%s. Looking again in %d s.", error, PAUSE_S)
            _, _, *others = signature(step).bind(self, context, *given, **named).arguments.items()
            self.defer(
                trigger=TimeDeltaTrigger(timedelta(seconds=PAUSE_S)),
                method_name="after_silence",
                kwargs={"step": step.__name__, "arguments": dict(others), "since": since.isoformat()},
            )

    return step_or_wait


class BearsSilence(NeedsLogin):
    """An operator that waits for systems that are down. `silent_since` is None as soon as all have answered.

    :param patience: seconds after which it fails all the same.
    """

    def __init__(self, *, patience: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience = patience
        self.silent_since: datetime | None = None

    def after_silence(
        self, context: Context, event: Any, step: str, arguments: dict[str, Any], since: str
    ) -> Any:
        """Repeat what could not be done before."""
        self.silent_since = datetime.fromisoformat(since)
        return getattr(self, step)(context, **arguments)
