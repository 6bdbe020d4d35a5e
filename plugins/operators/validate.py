"""First task of every run: may this user make this request, and can it be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from operators.site import identity_of, owner_of, run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.flat_steering import Convert
    from esap_batch.request import CrossCheck


class ValidateRequest(BaseOperator):
    """Checks the run's conf and gives the steering file.

    Every error is told at once, each with its field, its value and what is allowed; the task then fails
    without another try.

    :param workflow: name of the folder in config/workflows.
    :param check: the use case's checks across fields.
    :param convert: makes the request of a document of another shape, as ESAP's flat steering file is.
    :returns: the steering file (request with defaults filled in, software pinned, fingerprint).
    """

    def __init__(
        self,
        *,
        workflow: str,
        check: CrossCheck | None = None,
        convert: Convert | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.convert = convert
        self.workflow = workflow
        self.check = check

    def execute(self, context: Context) -> dict[str, Any]:
        from esap_batch.errors import RequestRefused
        from esap_batch.flat_steering import examined
        from esap_batch.request import resolve
        from esap_batch.workflows import load_workflow
        from hooks.settings import config_dir

        workflow = load_workflow(config_dir(), self.workflow)
        try:
            identity = identity_of(self.owner_of(context))
            identity.require_workflow(self.workflow)
        except PermissionError as refusal:
            raise AirflowFailException(str(refusal)) from None
        request = examined(self.request_of(context), workflow, self.check, self.convert)
        if request.problems:
            raise AirflowFailException(str(RequestRefused(request.problems)))
        requested_at = context["dag_run"].run_after.strftime("%Y-%m-%dT%H:%M:%S")
        steering = resolve(request.conf, workflow, identity.user, run_key(context), requested_at)
        self.log.info("request accepted from %s, fingerprint %s", identity.user, steering["fingerprint"])
        return steering

    def owner_of(self, context: Context) -> str | None:
        """Name the user whose run it is."""
        return owner_of(context)

    def request_of(self, context: Context) -> dict[str, Any]:
        """Give what is asked for."""
        return context["dag_run"].conf or {}
