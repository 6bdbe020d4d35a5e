"""Drives jobs with django-uws's own client, job and worker classes.

    with_django_uws.py watch  UWS_URL JOB_ID           print each phase until the job's token is void
    with_django_uws.py work   UWS_URL JOB_ID           do the job as the worker of its type
    with_django_uws.py call   UWS_URL JOB_ID METHOD    make one call of the client, with its arguments as JSON

The job's one-time token is in the variable TOKEN. Prints one line of JSON for each step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

WORKERS = ("Greeting", "Failing")


def set_up(url: str) -> None:
    """Make Django's settings: workers are found by their names in this module."""
    sys.modules["with_django_uws"] = sys.modules[__name__]
    settings.configure(UWS_HOST=url, UWS_WORKERS=[f"with_django_uws.{name}" for name in WORKERS])
    django.setup()


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")


def watch(url: str, job_id: int, token: str) -> None:
    from uws.client import Client

    client = Client(url)
    while True:
        try:
            job = client.get_job(job_id, token)
        except RuntimeError as error:
            tell(refused=str(error))
            return
        tell(phase=job["phase"])
        time.sleep(0.5)


def work(url: str, job_id: int, token: str) -> None:
    from uws.tasks import REGISTERED_WORKERS, start_job

    tell(types=sorted(REGISTERED_WORKERS))
    start_job(job_id, token)


def call(url: str, job_id: int, token: str, method: str, *arguments: str) -> None:
    from uws.client import Client

    given = [json.loads(one) for one in arguments]
    try:
        tell(job=getattr(Client(url), method)(job_id, *given, job_token=token))
    except RuntimeError as error:
        tell(refused=str(error))


def main(command: str, url: str, job_id: str, *rest: str) -> None:
    set_up(url)
    commands: dict[str, Callable[..., None]] = {"watch": watch, "work": work, "call": call}
    commands[command](url, int(job_id), os.environ["TOKEN"], *rest)


def _worker_classes() -> None:
    """Define the workers, which needs the package."""
    from uws.workers import Worker

    class Greeting(Worker):
        def __init__(self) -> None:
            self._type = "external.greeting"

        def run(self, job: Any, job_token: str, client: Any) -> None:
            name = next(p.value for p in job.parameters if p.key == "name")
            tell(at_work=job.phase)
            result = {"key": "greeting", "value": f"hello {name}", "size": None, "mimeType": "text/plain"}
            client.add_results(job.jobId, [result], job_token)

    class Failing(Worker):
        def __init__(self) -> None:
            self._type = "external.failing"

        def run(self, job: Any, job_token: str, client: Any) -> None:
            raise ValueError(f"job {job.jobId} cannot be done")

    globals().update(Greeting=Greeting, Failing=Failing)


if __name__ == "__main__":
    _worker_classes()
    main(*sys.argv[1:])
