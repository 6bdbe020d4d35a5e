"""A lake with tapes, a storage element and a back end in memory, and what goes on there between two turns.

Every effect of a worker on them may be its last one: see `World.deaths`.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from esap_batch.carousel import Block, Item, Tally, blocks_of, tally
from esap_batch.jobs import Attempt, Batch, InputFile, JobSpec, JobState, Limits
from esap_batch.observations import Observation
from esap_batch.products import WORK_AREA, Claim
from esap_batch.request import resolve
from esap_batch.use_cases import cta_reprocessing
from esap_batch.workflows import Workflow, load_workflow
from hooks.lake_bulk import Publication, Recall
from hooks.storage_element import Stored
from operators.campaign.turn import Position, take_turn
from operators.campaign.work import Work
from operators.site import Site
from tests.unit.conftest import FakeBackend

Json = dict[str, Any]
CONFIG = Path(__file__).parents[4] / "config"
DAG_ID, RUN_ID = "cta_reprocessing", "manual__1"
RUN = f"{DAG_ID}/{RUN_ID}"
RSE = "LAPALMA-DISK"
ABOUT = {"project": "PI-1", "site": "LaPalma", "kind": "observation"}
REQUEST = {"project": "PI-1", "processor": "esap-noop", "window_gb": 1e-6, "max_running": 4, "hold_after": 10}

READS = ("exists", "stat", "read", "recalls", "missing", "attempts", "reports", "claims", "find", "metadata",
         "files", "places", "pinned")  # fmt: skip


class Killed(Exception):  # noqa: N818 - says what happened
    """The worker is gone."""


class Watched:
    """Passes every call on, and lets the worker die after the one that is due."""

    def __init__(self, name: str, target: Any, world: World) -> None:
        self._name, self._target, self._world = name, target, world

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            self._world.note(f"{self._name}.{name}", args)
            return answer

        return call


class Storage:
    """Files by PFN, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def exists(self, pfns: Iterable[str]) -> set[str]:
        return {p for p in pfns if p in self.files}

    def stat(self, pfn: str) -> Stored | None:
        content = self.files.get(pfn)
        return None if content is None else Stored(len(content), adler32(content))

    def read(self, pfn: str) -> bytes:
        return self.files[pfn]

    def put(self, pfn: str, content: bytes) -> Stored:
        self.files[pfn] = content
        return Stored(len(content), adler32(content))

    def mark(self, pfn: str) -> None:
        self.files[pfn] = b""

    def changed(self, pfn: str) -> float | None:
        return time.time() if pfn in self.files else None

    def move(self, source: str, target: str) -> None:
        self.files[target] = self.files.pop(source)

    def delete(self, pfns: Iterable[str]) -> int:
        return sum(self.files.pop(p, None) is not None for p in pfns)

    def delete_tree(self, pfn: str) -> int:
        return self.delete([p for p in self.files if p.startswith(f"{pfn}/")])


@dataclass
class Rule:
    """A recall. `tick` counts how often Rucio has handled it."""

    dataset: str
    tag: str
    files: tuple[InputFile, ...]
    state: str = "REPLICATING"
    tick: int = 0


class Lake:
    """What the turns ask of `BulkLake`: DIDs with metadata, claims, recalls of files that are on tape."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.meta: dict[str, Json] = {}
        self.open: dict[str, bool] = {}
        self.raw: dict[str, Observation] = {}
        self.rules: dict[str, Rule] = {}
        self.asked: Counter[str] = Counter()
        self.published: dict[str, Publication] = {}
        self.boosted: list[str] = []
        self.broken: dict[str, str] = {}
        self.expiring: set[str] = set()
        self.wanted_by_others: set[str] = set()
        self.rivals: list[tuple[str, str, int]] = []  # who append to a ledger first: ledger, LFN, bytes

    def add(self, observation: Observation) -> None:
        self.raw[observation.dataset] = observation
        self.meta[observation.dataset] = dict(observation.metadata)
        self.open[observation.dataset] = False

    def hold(self, claim: Claim, **metadata: Any) -> None:
        """Put another run's claim there."""
        self.meta[claim.dataset] = {"esap_run": claim.run, **metadata}
        self.open[claim.dataset] = not claim.is_published

    def find(self, scope: str, filters: Sequence[Mapping[str, Any]]) -> list[str]:
        known = [n for n in self.meta if n.split("/")[2] == scope]
        return sorted(n for n in known if any(_matches(self.meta[n], one) for one in filters))

    def metadata(self, names: Sequence[str]) -> dict[str, Json]:
        return {n: dict(self.meta[n]) for n in names if n in self.meta}

    def files(self, datasets: Sequence[str]) -> dict[str, tuple[InputFile, ...]]:
        return {d: self.raw[d].files for d in datasets}

    def places(self, lfns: Sequence[str]) -> dict[str, list[str]]:
        return {lfn: ["LAPALMA-TAPE", *([RSE] if pfn_of(lfn) in self.storage.files else [])] for lfn in lfns}

    def claims(self, scope: str, conditions: Mapping[str, Any]) -> dict[str, list[tuple[Claim, Json]]]:
        found: dict[str, list[tuple[Claim, Json]]] = {}
        for name in self.find(scope, [conditions]):
            meta = self.meta[name]
            claim = Claim(name, meta["esap_run"], is_published=not self.open[name])
            found.setdefault(name.rsplit("-g", 1)[0], []).append((claim, meta))
        return found

    def claim(self, datasets: Mapping[str, Mapping[str, Any]]) -> set[str]:
        new = {d for d in datasets if d not in self.meta}
        for name in new:
            self.meta[name], self.open[name] = dict(datasets[name]), True
        return new

    def describe(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        for name, meta in metadata.items():
            self.meta[name] = {**self.meta.get(name, {}), **meta}

    def recallable(self, observation: Observation, tag: str) -> str:
        if not observation.is_partial:
            return observation.dataset
        dataset = f"{WORK_AREA}/{tag}/recall/obs_{observation.obs_id:06d}"
        self.raw[dataset] = replace(observation, dataset=dataset)
        return dataset

    def recall(self, datasets: Sequence[str], rse: str, tag: str, priority: int) -> dict[str, str]:
        assert (rse, priority) == (RSE, 3)
        standing = {r.dataset: key for key, r in self.rules.items() if r.tag == tag}
        for dataset in (d for d in datasets if d not in standing):
            self.asked[dataset] += 1
            rule = f"rule {sum(self.asked.values())}"
            self.rules[rule], standing[dataset] = Rule(dataset, tag, self.raw[dataset].files), rule
        return {d: standing[d] for d in datasets}

    def recalls(self, tag: str) -> list[Recall]:
        return [
            Recall(key, r.dataset, RSE, r.state, f"{r.tick:06d}", self._error(r), key in self.expiring)
            for key, r in self.rules.items()
            if r.tag == tag
        ]

    def missing(self, rule_id: str) -> list[str]:
        return sorted(f.lfn for f in self.rules[rule_id].files if f.lfn in self.broken)

    def boost(self, rule_id: str) -> None:
        self.boosted.append(rule_id)

    def renew(self, rule_id: str) -> None:
        self.expiring.remove(rule_id)

    def pinned(self, lfns: Iterable[str], rse: str) -> set[str]:
        assert rse == RSE
        return self.wanted_by_others & set(lfns)

    def release(self, rule_id: str) -> None:
        self.rules.pop(rule_id, None)

    def publish(self, rse: str, copies: Sequence[str], products: Sequence[Publication], origin: str) -> None:
        assert (rse, list(copies)) == (RSE, [RSE, "CSCS-DISK"])
        assert RUN in origin
        for product in (p for p in products if self.open[p.dataset]):
            self.published[product.dataset] = product
            self.describe({product.dataset: product.metadata})
            self.open[product.dataset] = False

    def append(self, ledger: str, lfn: str, run: str, size: int) -> bool:
        if self.rivals:
            account, name, taken = self.rivals.pop(0)
            self.meta[name] = {"esap_ledger": account, "esap_run": "d/rival", "esap_bytes": taken}
        if lfn in self.meta:
            return False
        self.meta[lfn] = {"kind": "budget", "esap_ledger": ledger, "esap_run": run, "esap_bytes": size}
        return True

    def _error(self, rule: Rule) -> str:
        return next((self.broken[f.lfn] for f in rule.files if f.lfn in self.broken), "")


class Backend(FakeBackend):
    """Keeps what each submission was told; the same one twice must be told the same."""

    def __init__(self) -> None:
        super().__init__([])
        self.specs: dict[tuple[str, int, int], JobSpec] = {}
        self.cleaned: list[str] = []

    def submit(self, batch: Batch, attempts: Mapping[int, int]) -> list[Attempt]:
        for job in batch.jobs:
            key = (batch.group, job.index, attempts[job.index])
            assert self.specs.setdefault(key, job) == job
        super().submit(batch, attempts)
        there = self.known[batch.group]
        there[:] = [replace(a, job_id=f"{batch.group}/{a.index}-{a.attempt}") for a in there]
        return list(there)

    def clean_up(self, group: str) -> None:
        self.cleaned.append(group)

    @property
    def alive(self) -> list[tuple[str, Attempt]]:
        return [(g, a) for g, known in self.known.items() for a in known if not a.state.is_terminal]


@dataclass
class World:
    """The stand-ins together; `worker` is what a new worker process sees of them."""

    request: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.storage, self.backend = Storage(), Backend()
        self.lake = Lake(self.storage)
        self.steering = steering(self.request, self.settings)
        self.calls: list[tuple[str, Any]] = []
        self.effects = 0
        self.deaths: set[int] = set()  # numbers of the effects after which a worker dies
        self.blocks = 0
        self.observations: list[Observation] = []
        self.reasons: dict[int, list[str]] = {}  # of each observation's attempts that fail, the first first
        self.invalid: set[int] = set()  # observations whose output does not pass
        self.on_disk_before: set[str] = set()

    def note(self, call: str, args: Any = ()) -> None:
        self.calls.append((call, args))
        if call.partition(".")[2] not in READS:
            self.effects += 1
            if self.effects in self.deaths:
                raise Killed(call)

    def called(self, name: str) -> int:
        return sum(call == name for call, _ in self.calls)

    def worker(self) -> Work:
        known = standard_site()
        site = Site(known.facility, known.identity)
        address = SimpleNamespace(pfns=lambda _rse, lfns: {lfn: pfn_of(lfn) for lfn in lfns})
        site.__dict__.update(
            lake=address,
            storage=Watched("storage", self.storage, self),
            backend=Watched("backend", self.backend, self),
        )
        work = Work(site, self.steering, DAG_ID, RUN_ID, cta_reprocessing)  # type: ignore[arg-type]
        work.__dict__["lake"] = Watched("lake", self.lake, self)
        return work

    def plan(self, observations: Sequence[Observation], length: int = 2) -> list[Block]:
        """Put observations on tape and write a run's plan."""
        work = self.worker()
        todo = [(o, f"{cta_reprocessing.product_base(self.steering, o)}-g1") for o in observations]
        for one in observations:
            self.lake.add(one)
        blocks = blocks_of(todo, length)
        for block in blocks:
            work.save(block)
        self.blocks, self.observations = len(blocks), list(observations)
        self.calls.clear()
        self.effects = 0
        return blocks

    def turn(self) -> Position:
        try:
            return take_turn(self.worker(), workflow(), self.blocks)
        finally:
            window = round(self.steering["request"]["window_gb"] * 1e9)
            assert self.occupied <= window, "the window is exceeded"

    def turn_or_die(self) -> None:
        with suppress(Killed):
            self.turn()

    @property
    def occupied(self) -> int:
        """Bytes on disk or on their way there which were not there before the run."""
        wanted = {f.lfn: f.size for r in self.lake.rules.values() for f in r.files}
        there = {f.lfn: f.size for o in self.lake.raw.values() for f in o.files
                 if pfn_of(f.lfn) in self.storage.files}  # fmt: skip
        return sum(size for lfn, size in {**wanted, **there}.items() if lfn not in self.on_disk_before)

    def recall_some(self, count: int | None = None) -> None:
        """Let tapes turn: files come, or their rules get stuck; what nobody wants any more is deleted."""
        for rule in [r for r in self.lake.rules.values() if r.state != "OK"][:count]:
            rule.tick += 1
            for file in (f for f in rule.files if f.lfn not in self.lake.broken):
                self.storage.files[pfn_of(file.lfn)] = b"raw"
            rule.state = "STUCK" if any(f.lfn in self.lake.broken for f in rule.files) else "OK"

    def reap(self) -> None:
        wanted = {f.lfn for r in self.lake.rules.values() for f in r.files} | self.on_disk_before
        raw = {f.lfn for o in self.lake.raw.values() for f in o.files}
        self.storage.delete(pfn_of(lfn) for lfn in raw - wanted)

    def run_some(self, count: int | None = None) -> None:
        """Let jobs end, well or as `reasons` and `invalid` say."""
        for group, attempt in self.backend.alive[:count]:
            job = self.backend.specs[(group, attempt.index, attempt.attempt)]
            number = int(job.files["config.json"]["message"].split()[-1])
            left = self.reasons.get(number, [])
            if left:
                self._fail(group, attempt, job, left.pop(0))
            else:
                self._finish(group, attempt, job, "invalid" if number in self.invalid else "valid")

    def _fail(self, group: str, attempt: Attempt, job: JobSpec, reason: str) -> None:
        limits = {k: getattr(job.limits, k) for k in Limits.__dataclass_fields__}
        known = {"index": attempt.index, "attempt": attempt.attempt, "limits": limits}
        about = {"reason": reason, "message": "it broke.", "payload_log_tail": "last words"}
        self.backend.written[attempt.job_id] = {**known, **about}
        self.backend.replace(group, attempt, JobState.FAILED)

    def _finish(self, group: str, attempt: Attempt, job: JobSpec, verdict: str) -> None:
        outputs, checks = [], []
        for output in job.outputs:
            stored = self.storage.put(output.pfn, output.name.encode())
            outputs.append({"name": output.name, "lfn": output.lfn, "pfn": output.pfn,
                            "size": stored.size, "adler32": stored.adler32})  # fmt: skip
            check = {"name": "hello.format", "passed": verdict == "valid", "message": "is odd"}
            checks.append({"output": output.name, "verdict": verdict, "report": {"checks": [check]}})
        times = {"started": "2026-11-21T06:00:00Z", "finished": "2026-11-21T06:01:00Z"}
        about = {"index": attempt.index, "attempt": attempt.attempt, "reason": "OK", "message": ""}
        self.backend.written[attempt.job_id] = {**about, **times, "outputs": outputs, "validation": checks}
        self.backend.replace(group, attempt, JobState.DONE)

    def advance(self) -> None:
        """Let everything that is under way end."""
        self.reap()
        self.recall_some()
        self.run_some()

    def finish(self, turns: int = 300, *, goes_on: bool = False) -> Position:
        """Turn until nothing is left; a worker that dies is replaced, at once or when the world `goes_on`."""
        for _ in range(turns):
            try:
                at = self.turn()
            except Killed:
                if not goes_on:
                    continue
            else:
                if at.is_over:
                    return at
            self.advance()
        raise AssertionError(f"not over after {turns} turns")

    def items(self) -> dict[int, Item]:
        """Give all observations as storage has them, by number."""
        blocks = self.worker().blocks(range(self.blocks))
        return {i.observation.obs_id: i for b in blocks for i in b.items}

    def tally(self) -> Tally:
        return tally(self.worker().blocks(range(self.blocks)))

    def require_whole(self) -> None:
        """Check that products lie as they were registered, with their papers, and nothing else is left."""
        for product in self.lake.published.values():
            for file in product.files:
                assert self.storage.stat(pfn_of(file.lfn)) == Stored(file.size, file.adler32), file.lfn
        assert not self.lake.rules
        assert not self.backend.alive


def observation(obs_id: int, sizes: Sequence[int] = (50, 50)) -> Observation:
    base = f"/ctao/acada/DL0/LaPalma/obs_{obs_id:06d}"
    files = tuple(
        InputFile(name, f"{base}/{name}", size, f"{obs_id:08x}")
        for name, size in ((f"obs_{obs_id:06d}_tel{n:03d}_00.dat", s) for n, s in enumerate(sizes, start=1))
    )
    return Observation(obs_id, base, {**ABOUT, "obs_id": obs_id}, files)


def observations(count: int, **more: Any) -> list[Observation]:
    return [observation(n, **more) for n in range(1, count + 1)]


def pfn_of(lfn: str) -> str:
    return f"file://se/{RSE}{lfn}"


def adler32(content: bytes) -> str:
    return f"{zlib.adler32(content):08x}"


def _matches(meta: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    plain = {k: v for k, v in conditions.items() if "." not in k}
    low = {k.removesuffix(".gte"): v for k, v in conditions.items() if k.endswith(".gte")}
    high = {k.removesuffix(".lte"): v for k, v in conditions.items() if k.endswith(".lte")}
    return (
        plain.items() <= meta.items()
        and all(meta.get(k, v - 1) >= v for k, v in low.items())
        and all(meta.get(k, v + 1) <= v for k, v in high.items())
    )


@cache
def workflow() -> Workflow:
    return load_workflow(CONFIG, DAG_ID)


@cache
def standard_site() -> Site:
    return Site.of({"facility": "lapalma"}, "alice")


def steering(request: Json | None = None, settings: Json | None = None) -> Json:
    """Give a steering file as `ValidateRequest` does."""
    made = resolve({**REQUEST, **(request or {})}, workflow(), "alice", RUN, "2026-11-21T06:00:00")
    return {**made, "campaign": {**made["campaign"], **(settings or {})}}
