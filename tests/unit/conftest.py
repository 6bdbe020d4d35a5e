"""A small world for operators, sensors and triggers: one back end, one lake, one storage element."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from esap_batch.facilities import Facility
from esap_batch.health import Health
from esap_batch.jobs import Attempt, Batch, JobCounts, JobSpec, JobState, Load, OutputSpec, digests
from esap_batch.products import Claim, ProductFile, generation_of
from hooks import facility_health
from hooks.backends import facility_named
from hooks.broker import Broker
from hooks.rucio_lake import RucioLake
from hooks.storage_element import StorageElement, Stored, local_path
from operators import site as site_module
from operators.site import Site

Json = dict[str, Any]
DAG_ID, RUN_ID = "hello_world", "manual__1"
RUN = f"{DAG_ID}/{RUN_ID}"
BASE = "/ctao/esap/hello_world/hello-world-0123456789ab"
DATASET = f"{BASE}-g1"
PRODUCT = {
    "dataset": DATASET,
    "production_id": "hello-world-0123456789ab-g1",
    "made_by": RUN,
    "state": "claimed",
}
SOFTWARE = [{"name": "esap-noop", "version": "0.1.0"}]
GROUP = "esap-group"
ACCEPTED = {"passed": True, "checks": 3, "findings": []}


class FakeBackend:
    """Keeps submissions in a list; jobs end when a test says so."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.known: dict[str, list[Attempt]] = {}
        self.batches: list[Batch] = []
        self.written: dict[str, Json] = {}
        self.loads: dict[str, Load | Exception] = {}

    def submit(self, batch: Batch, attempts: Mapping[int, int]) -> list[Attempt]:
        told = ",".join(f"{i}:{n}" for i, n in sorted(attempts.items()))
        self.events.append(f"submit {told}")
        self.batches.append(batch)
        there = self.known.setdefault(batch.group, [])
        keys = {a.key for a in there}
        for index, attempt in sorted(attempts.items()):
            if (index, attempt) not in keys:
                there.append(Attempt(f"{index}-{attempt}", index, attempt, JobState.QUEUED))
        return list(there)

    def counts(self, groups: Sequence[str]) -> dict[str, JobCounts]:
        return {g: JobCounts(a.state for a in self.known.get(g, [])) for g in groups}

    def attempts(self, group: str) -> list[Attempt]:
        return list(self.known.get(group, []))

    def cancel(self, group: str) -> int:
        self.events.append(f"cancel {group}")
        alive = [a for a in self.known.get(group, []) if not a.state.is_terminal]
        for one in alive:
            self.replace(group, one, JobState.CANCELLED)
        return len(alive)

    def reports(self, attempts: Sequence[Attempt]) -> dict[str, Json]:
        return {a.job_id: self.written[a.job_id] for a in attempts if a.job_id in self.written}

    def clean_up(self, group: str) -> None:
        self.events.append(f"clean_up {group}")

    def load(self, site: str) -> Load:
        self.events.append(f"load {site}")
        found = self.loads.get(site, Load())
        if isinstance(found, Exception):
            raise found
        return found

    def replace(self, group: str, old: Attempt, state: JobState) -> None:
        one = self.known[group]
        one[one.index(old)] = Attempt(old.job_id, old.index, old.attempt, state, old.detail)


class FakeLake:
    """Datasets as dictionaries; a PFN is the LFN below the RSE's folder."""

    def __init__(self, root: Path, events: list[str]) -> None:
        self.root = root
        self.events = events
        self.datasets: dict[str, Json] = {}
        self.described: dict[str, Json] = {}
        self.rivals: list[Claim] = []  # who are faster, one at each claim

    def pfns(self, rse: str, lfns: Sequence[str]) -> dict[str, str]:
        return {lfn: f"file://localhost:0{self.root}/{rse}{lfn}" for lfn in lfns}

    def put_claim(self, claim: Claim) -> None:
        self.datasets[claim.dataset] = {
            "run": claim.run,
            "open": not claim.is_published,
            "files": [],
            "rules": {},
        }
        if claim.jobs:
            self.described[claim.dataset] = {"esap_missing_jobs": claim.missing, "esap_jobs": claim.jobs}

    def claims(self, base: str) -> list[Claim]:
        found = [d for d in self.datasets if d.startswith(f"{base}-g")]
        return [
            Claim(d, self.datasets[d]["run"], not self.datasets[d]["open"], *self._counts(d))
            for d in sorted(found, key=generation_of)
        ]

    def _counts(self, dataset: str) -> tuple[int, int]:
        meta = self.described.get(dataset, {})
        return meta.get("esap_missing_jobs", 0), meta.get("esap_jobs", 0)

    def claim(self, dataset: str, metadata: Mapping[str, Any]) -> bool:
        self.events.append(f"claim {dataset}")
        if self.rivals:
            self.put_claim(self.rivals.pop(0))
        if dataset in self.datasets:
            return False
        self.put_claim(Claim(dataset, metadata["esap_run"], is_published=False))
        self.described[dataset] = dict(metadata)
        return True

    def is_published(self, dataset: str) -> bool:
        return not self.datasets[dataset]["open"]

    def files(self, dataset: str) -> list[Json]:
        return [{"name": f.lfn} for f in self.datasets[dataset]["files"]]

    def rules(self, dataset: str) -> dict[str, str]:
        return dict(self.datasets[dataset]["rules"])

    def add_files(self, dataset: str, rse: str, files: Sequence[ProductFile]) -> None:
        self.events.append(f"add_files {rse} {len(files)}")
        self.datasets[dataset]["files"] = list(files)

    def set_metadata(self, lfn: str, metadata: Mapping[str, Any]) -> None:
        self.events.append(f"set_metadata {lfn}")
        self.described[lfn] = {**self.described.get(lfn, {}), **metadata}

    def metadata(self, lfn: str) -> Json:
        return dict(self.described.get(lfn, {}))

    def find(self, scope: str, filters: Mapping[str, Any]) -> list[str]:
        """List the datasets that match; the scope is the second part of an LFN."""
        known = [d for d in self.datasets if d.split("/")[2] == scope]
        return sorted(d for d in known if filters.items() <= self.described.get(d, {}).items())

    @property
    def client(self) -> FakeLake:
        """Stand for Rucio's client too: what the bulk operations call."""
        return self

    def asking(self) -> AbstractContextManager[None]:
        return nullcontext()

    def set_dids_metadata_bulk(self, dids: Sequence[Json]) -> None:
        self.events.append(f"describe {len(dids)}")
        for did in dids:
            self.described[did["name"]] = {**self.described.get(did["name"], {}), **did["meta"]}

    def add_rule(self, dataset: str, rse: str, **_options: Any) -> str:
        self.events.append(f"add_rule {rse}")
        rule: str = self.datasets[dataset]["rules"].setdefault(rse, f"rule-{rse}")
        return rule

    def expire(self, dataset: str, seconds: int) -> None:
        self.events.append(f"expire {seconds}")

    def close(self, dataset: str) -> None:
        self.events.append(f"close {dataset}")
        self.datasets[dataset]["open"] = False


class FakeTaskInstance:
    """What operators ask of a task instance. `runs` maps `dag_id/run_id` to a run's state."""

    def __init__(self) -> None:
        self.xcoms: Json = {}
        self.pushed: Json = {}
        self.states: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.try_number = 1
        self.start_date = datetime.now(UTC)

    def xcom_pull(self, task_ids: str) -> Any:
        return self.xcoms.get(task_ids)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def get_task_states(self, dag_id: str, run_ids: Sequence[str]) -> dict[str, Any]:
        assert (dag_id, list(run_ids)) == (DAG_ID, [RUN_ID])
        return {RUN_ID: self.states} if self.states else {}

    def get_dr_count(self, dag_id: str, run_ids: Sequence[str]) -> int:
        return sum(f"{dag_id}/{r}" in self.runs for r in run_ids)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        return self.runs[f"{dag_id}/{run_id}"]


class World:
    """The fakes together, with short cuts for what tests say often. Every side effect is in `events`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[str] = []
        self.backend = FakeBackend(self.events)
        self.lake = FakeLake(root, self.events)
        self.storage = StorageElement()
        self.ti = FakeTaskInstance()
        self.opened: list[Json] = []
        self.health: dict[str, Health] = {}

    def open_backend(self, ref: Json, *, closing: bool = False) -> FakeBackend:
        self.opened.append({**ref, "closing": True} if closing else ref)
        return self.backend

    def site(self) -> Site:
        return Site.of({"facility": "lapalma"}, "alice")

    def context(self, user: str | None = "alice", conf: Any = None, **more: Any) -> Any:
        run = SimpleNamespace(
            dag_id=DAG_ID,
            run_id=RUN_ID,
            triggering_user_name=user,
            conf=conf,
            run_after=datetime(2026, 11, 21, 6, 0, 0, 123456, tzinfo=UTC),
        )
        return {"dag_run": run, "ti": self.ti, "task_instance": self.ti, **more}

    def path(self, lfn: str, rse: str = "LAPALMA-DISK") -> Path:
        return local_path(self.lake.pfns(rse, [lfn])[lfn])

    def jobs(self, count: int, directory: str = DATASET) -> list[JobSpec]:
        return [
            JobSpec(
                i,
                ("esap-noop", "run"),
                outputs=(OutputSpec(f"out_{i}.json", f"{directory}/out_{i}.json", ("check",)),),
            )
            for i in range(count)
        ]

    def submission(self, count: int = 2, allowed_failures: int = 0, directory: str = DATASET) -> Json:
        """Give what `SubmitJobs` would, with every job queued at the back end."""
        site = self.site()
        batch = Batch(GROUP, site.located(self.jobs(count, directory)), software=tuple(SOFTWARE))
        journal = site.keep(GROUP, "batch.json", batch.journal())
        self.backend.submit(batch, dict.fromkeys(range(count), 1))
        self.events.clear()
        return {
            "group": GROUP,
            "count": count,
            "facility": "lapalma",
            "task_id": "submit_jobs",
            "allowed_failures": allowed_failures,
            "journal": journal,
        }

    def done(self, index: int, attempt: int = 1, verdict: str = "valid", directory: str = DATASET) -> None:
        """Let a job end well: its file lies where it belongs and its report came back."""
        lfn = f"{directory}/out_{index}.json"
        content = f"output {index}".encode()
        pfn = self.site().pfns([lfn])[lfn]
        stored = self.storage.put(pfn, content)
        output = {
            "name": f"out_{index}.json",
            "lfn": lfn,
            "pfn": pfn,
            "size": stored.size,
            "adler32": stored.adler32,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        check = {"name": "hello.format", "passed": verdict == "valid", "message": "is odd"}
        self._end(
            index,
            attempt,
            JobState.DONE,
            {
                "reason": "OK",
                "message": "",
                "outputs": [output],
                "validation": [{"output": output["name"], "verdict": verdict, "report": {"checks": [check]}}],
            },
        )

    def fail(
        self, index: int, attempt: int = 1, reason: str = "PAYLOAD_FAILED", limits: Json | None = None
    ) -> None:
        report = {"reason": reason, "message": "it broke.", "payload_log_tail": "last words"}
        self._end(index, attempt, JobState.FAILED, {**report, "limits": limits or {}})

    def forget(self) -> None:
        """Let the back end lose all sandboxes, as after a clean-up."""
        self.backend.written.clear()

    def end_silently(self, index: int, attempt: int, state: JobState) -> None:
        """Let a job end without a report."""
        self._end(index, attempt, state, None)

    def _end(self, index: int, attempt: int, state: JobState, report: Json | None) -> None:
        there = self.backend.known.setdefault(GROUP, [])
        old = next((a for a in there if a.key == (index, attempt)), None)
        if old is None:
            old = Attempt(f"{index}-{attempt}", index, attempt, JobState.QUEUED)
            there.append(old)
        self.backend.replace(GROUP, old, state)
        if report is not None:
            times = {"started": f"2026-11-21T06:00:0{index}Z", "finished": f"2026-11-21T06:01:0{index}Z"}
            batch = self.site().journal(GROUP)
            digest = digests(batch.jobs, batch.software).get(index, "") if batch else ""
            known = {"index": index, "attempt": attempt, "digest": digest, "inputs": [], "limits": {}}
            self.backend.written[old.job_id] = {**known, **times, **report}


def steering(**request: Any) -> Json:
    """Give a steering file of hello_world."""
    return {
        "workflow": DAG_ID,
        "request": {"n_jobs": 2, **request},
        "software": SOFTWARE,
        "checks": {"hello.format": {"severity": "error"}},
        "owner": "alice",
        "run_id": RUN,
        "fingerprint": "0123456789ab" * 4,
        "product_lfn": BASE,
    }


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path / "storage")
    put, move = StorageElement.put, StorageElement.move

    def noted_put(storage: StorageElement, pfn: str, content: bytes) -> Stored:
        made.events.append(f"put {local_path(pfn).name}")
        return put(storage, pfn, content)

    def noted_move(storage: StorageElement, source: str, target: str) -> None:
        made.events.append(f"move {local_path(source).name}")
        move(storage, source, target)

    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    monkeypatch.setattr(site_module, "open_backend", made.open_backend)
    monkeypatch.setattr(Broker, "standing", lambda: None)
    monkeypatch.setattr(
        facility_health, "remember", lambda health: made.health.update({health.facility: health})
    )
    monkeypatch.setattr(
        facility_health, "remembered", lambda names: [made.health[n] for n in names if n in made.health]
    )
    monkeypatch.setattr(RucioLake, "from_connection", lambda _conn_id: made.lake)
    monkeypatch.setattr(StorageElement, "put", noted_put)
    monkeypatch.setattr(StorageElement, "move", noted_move)
    return made


class FakePlaces:
    """Gives places as a test says, as many as are wanted after that; keeps what it was told."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.given: list[int] = []

    def places(
        self,
        facility: str,
        batch: str,
        user: str,
        experiment: str,
        *,
        active: int,
        waiting: int,
        look: bool = False,
    ) -> int:
        assert not look
        self.events.append(f"places at {facility} for {user} of {experiment}: {active} + {waiting}")
        return min(waiting, self.given.pop(0) if self.given else waiting)

    def give_back(self, facility: str, batch: str, user: str) -> None:
        self.events.append(f"give back {facility} {batch}")


@pytest.fixture
def places(world: World, monkeypatch: pytest.MonkeyPatch) -> FakePlaces:
    """Limit the number of jobs at every facility."""
    from hooks import places as module
    from operators import site

    def limited(name: str) -> Facility:
        facility = facility_named(name)
        return replace(facility, limits=replace(facility.limits, max_active_jobs=3))

    fake = FakePlaces(world.events)
    monkeypatch.setattr(site, "facility_named", limited)
    monkeypatch.setattr(module, "Broker", SimpleNamespace(standing=lambda: fake))
    return fake
