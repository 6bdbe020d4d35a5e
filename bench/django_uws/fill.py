"""Makes the tables, a user, and so many jobs: `python -m bench.django_uws.fill 1000`."""

from __future__ import annotations

import sys

import django


def main(count: int) -> None:
    """Make them; REST framework's and django-uws's models need Django set up first."""
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from uws.models import Job, JobToken, Parameter

    call_command("migrate", verbosity=0)
    User.objects.create(username="alice")
    jobs = Job.objects.bulk_create(Job(runId=f"job {n}", ownerId="alice") for n in range(count))
    JobToken.objects.bulk_create(JobToken(job=job, key=f"{job.pk:040d}") for job in jobs)
    names = ("behaviour", "message", "n_jobs")
    Parameter.objects.bulk_create(
        Parameter(job=job, key=k, value="1", isPost=True) for job in jobs for k in names
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
