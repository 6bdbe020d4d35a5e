"""Runs a job from creation to a downloaded result with pyvo's classes for asynchronous jobs.

    with_pyvo.py JOB_LIST PARAMETERS.json RESULT_ID FILE

The access token is in the variable TOKEN. Prints the job's id.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import requests
from pyvo.dal import AsyncTAPJob
from pyvo.io.uws import parse_job_list


def main(job_list: str, parameters: str, result_id: str, file: str) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {os.environ['TOKEN']}"
    request = json.loads(Path(parameters).read_text())
    made = session.post(job_list, data={**request, "RUNID": "with pyvo"})
    made.raise_for_status()

    with AsyncTAPJob(made.url, session=session, delete=False) as job:
        assert job.phase == "PENDING", job.phase
        assert job.uws_version == "1.1"
        job.execution_duration = 3600
        job.run()
        job.wait(timeout=400)
        job.raise_if_error()
        result = next(r for r in job.job.results if r.id_ == result_id)
        found = session.get(result.href, stream=True)
        found.raise_for_status()
        with Path(file).open("wb") as out:
            out.writelines(found.iter_content(1 << 20))
        completed = io.BytesIO(session.get(job_list, params={"PHASE": "COMPLETED"}).content)
        assert job.job_id in {ref.jobid for ref in parse_job_list(completed)}
        sys.stdout.write(f"{job.job_id}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
