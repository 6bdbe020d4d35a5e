"""What the tasks of a campaign's run share: its documents on storage, its names, its rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from esap_batch.carousel import Block, Item, Rules, Tally
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import JobSpec, group_name
from esap_batch.observations import KIND, Observation, Selection
from esap_batch.products import work_lfn
from hooks.lake_bulk import BulkLake
from operators.site import Site

if TYPE_CHECKING:
    from airflow.sdk import Context

CAMPAIGN = "campaign"  # what a run's documents and recalls are named by, as batches are by their tasks


class ObservationUseCase(Protocol):
    """The functions of a use case that makes one product an observation."""

    SCOPE: str
    SELECTING: tuple[str, ...]
    INHERITED: tuple[str, ...]

    def required(self, request: Mapping[str, Any]) -> tuple[str, ...]: ...
    def selection(self, request: Mapping[str, Any]) -> Selection: ...
    def recipe(self, steering: Mapping[str, Any]) -> str: ...
    def product_base(self, steering: Mapping[str, Any], observation: Observation) -> str: ...
    def rules(self, steering: Mapping[str, Any]) -> Rules: ...
    def job(self, steering: Mapping[str, Any], group: str, item: Item) -> JobSpec: ...
    def is_transient(self, lfn: str) -> bool: ...
    def product_metadata(self, steering: Mapping[str, Any], item: Item) -> dict[str, Any]: ...
    def measured(self, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]: ...
    def requirements(self, steering: Mapping[str, Any], identity: Identity) -> Requirements: ...


@dataclass(frozen=True)
class State:
    """How far a run is, besides its blocks under way.

    `ended` sums up the blocks that are over, `active` are the numbers of those under way, `next_block` the
    first that has not begun. `held` says why the run stands still,
    `asked_in` is the try of the task that has asked somebody about it, `granted` the number of tries that the
    task had when its failures were taken up last: it changes when somebody clears the task, and only then.
    """

    started: str
    active: tuple[int, ...] = ()
    next_block: int = 0
    ended: Tally = field(default_factory=Tally)
    held: str = ""
    asked_in: str = ""
    granted: int = -1

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> State:
        """Read a state; members that another version of this service wrote are left out."""
        known = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        ended = Tally(**document["ended"])
        return cls(**{**known, "active": tuple(document["active"]), "ended": ended})

    @property
    def elapsed_s(self) -> float:
        return (datetime.now(UTC) - datetime.fromisoformat(self.started)).total_seconds()


@dataclass(frozen=True)
class Work:
    """A campaign's run at a facility."""

    site: Site
    steering: Mapping[str, Any]
    dag_id: str
    run_id: str
    use_case: ObservationUseCase

    @classmethod
    def of(
        cls,
        context: Context,
        steering: Mapping[str, Any],
        where: Mapping[str, Any],
        use_case: Any,
        *,
        closing: bool = False,
    ) -> Work:
        """Find a run's work; `closing` to end it."""
        run, site = context["dag_run"], Site.of(where, steering["owner"], closing=closing)
        return cls(site, steering, run.dag_id, run.run_id, use_case)

    @property
    def run(self) -> str:
        return f"{self.dag_id}/{self.run_id}"

    @property
    def tag(self) -> str:
        """Name what belongs to this run: its recalls and its documents."""
        return group_name(self.dag_id, self.run_id, CAMPAIGN)

    @property
    def claimed(self) -> dict[str, Any]:
        """Give the metadata that all claims on products of this recipe have."""
        return {"kind": KIND, "esap_recipe": self.use_case.recipe(self.steering)}

    @property
    def area(self) -> str:
        """Give the PFN of the folder with the run's documents."""
        return self.site.area(self.tag)

    def group(self, block: int) -> str:
        """Name the batch of a block's jobs."""
        return group_name(self.dag_id, self.run_id, _task_of(block))

    def sign(self, block: int) -> None:
        """Say in the work area of a block's batch whose it is: transient products lie there."""
        self.site.sign(self.group(block), self.run, _task_of(block))

    @cached_property
    def rules(self) -> Rules:
        return self.use_case.rules(self.steering)

    @cached_property
    def lake(self) -> BulkLake:
        return BulkLake(self.site.lake)

    def blocks(self, numbers: Sequence[int]) -> list[Block]:
        """Read blocks from storage."""
        return [Block.of(self._read(f"block-{n:05d}.json")) for n in numbers]

    def save(self, block: Block) -> None:
        """Write a block; it is there whole or not at all."""
        self.site.keep(self.tag, f"block-{block.number:05d}.json", block.document())

    def state(self) -> State:
        """Read how far the run is."""
        if not self.has_begun:
            return State(started=datetime.now(UTC).isoformat(timespec="seconds"))
        return State.of(self._read("state.json"))

    def save_state(self, state: State) -> None:
        self.site.keep(self.tag, "state.json", asdict(state))

    def plan(self) -> dict[str, Any] | None:
        """Read the plan of a run that has begun with it; None where there is none."""
        return self._read("plan.json") if self._has("plan.json") else None

    def listing(self) -> list[dict[str, Any]]:
        """Read what the search has found, planned or not."""
        found: list[dict[str, Any]] = self._read("listing.json")["observations"]
        return found

    def save_plan(self, plan: Mapping[str, Any]) -> None:
        self.site.keep(self.tag, "plan.json", plan)

    @property
    def has_begun(self) -> bool:
        return self._has("state.json")

    def _has(self, name: str) -> bool:
        lfn = f"{work_lfn(self.tag)}/{name}"
        return bool(self.site.storage.exists(self.site.pfns([lfn]).values()))

    def _read(self, name: str) -> dict[str, Any]:
        import json

        lfn = f"{work_lfn(self.tag)}/{name}"
        document: dict[str, Any] = json.loads(self.site.storage.read(self.site.pfns([lfn])[lfn]))
        return document


def _task_of(block: int) -> str:
    """Name what a block's batch is named by, beside the run."""
    return f"campaign block {block}"
