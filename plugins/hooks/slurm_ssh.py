"""SLURM over SSH, as a `JobBackend`: what is asked for here, `runner/esap_slurm` does at the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esap_batch.jobs import RECENT_S, Attempt, Batch, JobCounts, Load
from esap_batch.stages import Moves
from hooks.site_programs import RUNNER
from hooks.slurm_states import REASONS, counted, state_of
from hooks.ssh_program import SshProgram, SshSettings

# What a job needs beside its payload: time for inputs, validation and upload, memory for the runner. The
# runner itself limits the payload, so SLURM's own limits end only what has gone astray.
OVERHEAD = {"wall_time_s": 600, "memory_mb": 256}
PACKAGE = "esap_slurm"
POLL_TIMEOUT_S = 60.0  # the question comes again, and others wait for the thread


class SlurmSsh:
    """Jobs of one user at one SLURM site. Every method may be called again at any time.

    :param owner: name of the user, who sees and cancels what is in their own folder of the work area.
    :param programs: folder of the programs for the sites.
    :param options: of sbatch, beyond what a batch says: account, qos, constraint ...
    :param scratch_env: variable that names the folder for jobs on a worker node; else TMPDIR.
    """

    def __init__(
        self,
        settings: SshSettings,
        owner: str,
        programs: Path,
        options: Mapping[str, str] | None = None,
        scratch_env: str = "",
    ) -> None:
        self.site = SshProgram(settings, programs, PACKAGE, RUNNER)
        self._who = {"work_area": settings.work_area, "owner": owner}
        self._options, self._scratch_env = dict(options or {}), scratch_env

    def _ask(self, what: str, **question: Any) -> Any:
        return self.site.ask({"ask": what, **self._who, **question})

    def submit(self, batch: Batch, attempts: Mapping[int, int]) -> list[Attempt]:
        """Submit what is not there yet, as job arrays, in one call."""
        rows = self._ask(
            "submit",
            group=batch.group,
            batch=batch.document(),
            attempts=sorted(attempts.items()),
            site=batch.site,
            options={"partition": batch.site, **self._options},
            overhead=OVERHEAD,
            scratch_env=self._scratch_env,
        )
        return [_attempt(*row) for row in rows]

    def counts(self, groups: Sequence[str]) -> dict[str, JobCounts]:
        """Count submissions by state: one call however many batches and jobs."""
        question = {"ask": "counts", **self._who, "groups": list(groups)}
        found = self.site.ask(question, POLL_TIMEOUT_S)
        return {
            group: JobCounts(
                counted(one["states"]), {stage: Moves(*sums) for stage, sums in one["stages"].items()}
            )
            for group, one in found.items()
        }

    def attempts(self, group: str) -> list[Attempt]:
        """List every submission of a batch in one call."""
        return [_attempt(*row) for row in self._ask("attempts", group=group)]

    def cancel(self, group: str) -> int:
        """Kill what is not terminal; give how many that were."""
        return int(self._ask("cancel", group=group))

    def reports(self, attempts: Sequence[Attempt]) -> dict[str, dict[str, Any]]:
        """Fetch `job-report.json` of terminal jobs in one call, by job id."""
        ended = [a.job_id for a in attempts if a.state.is_terminal]
        return dict(self._ask("reports", jobs=ended)) if ended else {}

    def logs(self, job_id: str) -> dict[str, str]:
        """Fetch the ends of what a job has written, by name of the file."""
        return dict(self._ask("logs", job=job_id))

    def clean_up(self, group: str) -> None:
        """Delete the batch's reports and logs at the site."""
        self._ask("clean_up", group=group)

    def load(self, site: str) -> Load:
        """Count everybody's jobs in a partition, and the user's own that have ended lately, in one call."""
        found = self._ask("load", site=site, recent_s=RECENT_S)
        return Load.of(counted(found["queue"]), counted(found["ended"]))

    def hello(self) -> dict[str, Any]:
        """See whether all is there: `{"time": of the site, s since 1970, "slurm": its version}`."""
        return dict(self._ask("hello"))


def _attempt(job_id: str, index: int, attempt: int, word: str, detail: str) -> Attempt:
    words = f"{word}; {detail}" if detail else word
    return Attempt(job_id, index, attempt, state_of(word), words, REASONS.get(word, ""))
