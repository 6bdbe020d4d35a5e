"""Runs a job from creation to a downloaded result with uws-client, in Python 2.7, which is all it runs in.

    with_uws_client.py JOB_LIST PARAMETERS.json RESULT_ID FILE_BASE

The access token is in the variable TOKEN; the client sends it as the password, since it knows no other way.
Prints what the client's command line prints, and the job's id in the last line. The file is
FILE_BASE.RESULT_ID.
"""

from __future__ import print_function

import json
import os
import sys

from uws import UWS
from uws.cli import main as command_line


def command(job_list, *arguments):
    """Call the client's command line; the token is in no process list."""
    login = ["-H", job_list, "-U", "somebody", "--password", os.environ["TOKEN"]]
    sys.argv = ["uws"] + login + list(arguments)
    command_line.main()


def main(job_list, parameters, result_id, file_base):
    with open(parameters) as source:
        request = json.load(source)
    client = UWS.client.Client(url=job_list, user="somebody", password=os.environ["TOKEN"])
    job = client.new_job(dict(request, runId="with uws-client"))
    assert job.phase == ["PENDING"], job.phase
    assert job.version == "1.1", job.version
    job = client.set_parameters_job(job.job_id, {"executionDuration": 3600})
    assert job.execution_duration == 3600, job.execution_duration
    job = client.run_job(job.job_id)
    while job.phase[0] in UWS.models.JobPhases.active_phases:
        job = client.get_job(job.job_id, "60", job.phase[0])
    assert job.phase == ["COMPLETED"], (job.phase, unicode(job.error_summary))  # noqa: F821
    command(job_list, "list", "--completed", "--last", "5")
    command(job_list, "job", "results", job.job_id, result_id, "-f", file_base)
    print(job.job_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
