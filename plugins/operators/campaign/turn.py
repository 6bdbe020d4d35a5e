"""One turn of the carousel: take note of what has happened, publish, let go, recall and submit.

A turn may be killed anywhere. It writes its documents last, but for what could not be found out later: which
block has begun, and which files a recall brings. Each of its steps finds what an earlier turn did: claims and
recalls are adopted, jobs found by their names, products published once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from esap_batch.carousel import (
    Block,
    Item,
    Outcome,
    Phase,
    RecallState,
    Step,
    Tally,
    admitted,
    held_for,
    recall_step,
    startable,
    tally,
)
from esap_batch.workflows import Workflow
from hooks.lake_bulk import Recall
from operators.campaign import jobs, publish, recalls
from operators.campaign.work import State, Work

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """Where a run stands: its state, its blocks under way, and how many blocks it has in all."""

    state: State
    blocks: tuple[Block, ...]
    length: int

    @property
    def total(self) -> Tally:
        """Sum up all observations whose block has begun."""
        return self.state.ended.plus(tally(self.blocks))

    @property
    def has_blocks_left(self) -> bool:
        return self.state.next_block < self.length

    @property
    def has_waiting(self) -> bool:
        return self.has_blocks_left or any(b.having(Phase.WAITING) for b in self.blocks)

    @property
    def is_over(self) -> bool:
        return not self.blocks and not self.has_blocks_left

    def having(self, *phases: Phase) -> list[Item]:
        return [i for b in self.blocks for i in b.having(*phases)]

    def replaced(self, blocks: Sequence[Block]) -> Position:
        return replace(self, blocks=tuple(blocks))


def position(work: Work, length: int) -> Position:
    """Read where the run stands."""
    state = work.state()
    return Position(state, tuple(work.blocks(state.active)), length)


def take_turn(work: Work, workflow: Workflow, length: int) -> Position:
    """Do what can be done now, write it down, and give where the run stands."""
    at = position(work, length)
    standing = {r.rule_id: r for r in work.lake.recalls(work.tag)}
    recalls.renew(work, standing.values())
    at = at.replaced([_noted(work, workflow, b, standing) for b in at.blocks])
    at = at.replaced([recalls.release(work, b, wait=at.has_waiting) for b in at.blocks])
    if not held_for(at.total, work.rules):
        at = _admit(work, at)
    chosen = _placed(work, at, startable(at.blocks, work.rules))
    at = at.replaced([jobs.submit(work, b, [i for n, i in chosen if n == b.number]) for b in at.blocks])
    return _written(work, at)


def _placed(work: Work, at: Position, chosen: list[tuple[int, Item]]) -> list[tuple[int, Item]]:
    """Keep those for which the facility has a place now; the others stay ready."""
    places = work.site.places(work.tag)
    return chosen[: places.ask(len(at.having(Phase.RUNNING)), len(chosen))] if places else chosen


def revive(work: Work, granted: int | None = None) -> None:
    """Take failed observations up again, and grant jobs under way new attempts.

    It goes by the blocks alone, so that it may be repeated. `granted` notes for which tries of the task.
    """
    state, standing = work.state(), {r.rule_id for r in work.lake.recalls(work.tag)}
    new, ended = [], Tally()
    for block in work.blocks(range(state.next_block)):
        failed = [i.again() for i in block.items if i.outcome is Outcome.FAILED]
        on_disk = block.having(Phase.RECALLING, Phase.READY)
        failed += [i.recalled_again() for i in on_disk if i.rule not in standing]
        running = [replace(i, first_attempt=max(i.attempt, 1)) for i in block.having(Phase.RUNNING)]
        changed = block.replaced([*failed, *running])
        if changed != block:
            work.save(changed)
        if changed.is_ended:
            ended = ended.plus(tally([changed]))
        else:
            new.append(changed.number)
    granted = state.granted if granted is None else granted
    work.save_state(replace(state, active=tuple(new), ended=ended, held="", granted=granted))


def still_to_recall(work: Work, plan: Mapping[str, Any]) -> int:
    """Give the bytes that a run will have recalled in the end, with those that it recalls a second time."""
    state = work.state()
    if not state.next_block:
        return int(plan["recall_bytes"])
    begun = [i for b in work.blocks(range(state.next_block)) for i in b.items]
    waiting = sum(i.observation.size for i in begun if i.phase is Phase.WAITING and not i.fresh)
    not_begun = int(plan["todo_bytes"]) - sum(i.observation.size for i in begun)
    return sum(i.recalled for i in begun) + waiting + not_begun


def recall_news(work: Work, at: Position) -> str | None:
    """Give what Rucio says of the recalls under way now; None when that asks for another turn."""
    standing = {r.rule_id: r for r in work.lake.recalls(work.tag)}
    for item in at.having(Phase.RECALLING):
        found = standing.get(item.rule)
        state = RecallState(found.state, found.updated_at, found.error) if found else None
        if recall_step(item, state, work.rules) is not Step.WAIT:
            return None
    return Recall.summary(standing.values())


def failures(work: Work) -> list[dict[str, object]]:
    """List every observation that has failed, with diagnosis, of all blocks."""
    blocks = work.blocks(range(work.state().next_block))
    return [
        {
            "obs_id": i.observation.obs_id,
            "dataset": i.observation.dataset,
            "reason": i.reason,
            "message": i.message,
            "missing_files": list(i.missing),
        }
        for b in blocks
        for i in b.items
        if i.outcome is Outcome.FAILED
    ]


def _noted(work: Work, workflow: Workflow, block: Block, standing: Mapping[str, Recall]) -> Block:
    seen, finished = jobs.collect(work, recalls.watch(work, block, standing), standing)
    seen = seen.replaced(jobs.without_flawed(work, seen.having(Phase.READY)))
    return publish.publish(work, workflow, seen, finished)


def _admit(work: Work, at: Position) -> Position:
    """Recall as much as the window takes; begin further blocks when all of the earlier have begun."""
    while True:
        if chosen := admitted(at.blocks, work.rules):
            at = _recalled(work, at, chosen)
        elif at.has_blocks_left and not at.having(Phase.WAITING):
            number = at.state.next_block
            (block,) = work.blocks([number])
            if (begun := jobs.after_earlier(work, block)) != block:
                work.save(begun)
            state = replace(at.state, next_block=number + 1, active=(*at.state.active, number))
            work.save_state(state)
            at = Position(state, (*at.blocks, begun), at.length)
        else:
            return at


def _recalled(work: Work, at: Position, chosen: Sequence[tuple[int, Item]]) -> Position:
    return at.replaced([_recalled_of(work, b, [i for n, i in chosen if n == b.number]) for b in at.blocks])


def _recalled_of(work: Work, block: Block, items: Sequence[Item]) -> Block:
    if not items:
        return block
    claimed = recalls.claim(work, items)
    own = jobs.without_flawed(work, [i for i in claimed if i.outcome is Outcome.PENDING])
    noted = recalls.note_fresh(work, [i for i in own if i.outcome is Outcome.PENDING])
    block = block.replaced([*claimed, *own, *noted])
    work.save(block)
    return block.replaced(recalls.recall(work, noted))


def _written(work: Work, at: Position) -> Position:
    """Write down the turn: first the blocks, then the state that refers to them."""
    recalls.note_failures(work, at.having(Phase.RELEASING, Phase.ENDED))
    for block in at.blocks:
        work.save(block)
    over = [b for b in at.blocks if b.is_ended]
    for block in over:
        work.site.backend.clean_up(work.group(block.number))
    left = tuple(b for b in at.blocks if not b.is_ended)
    ended = reduce(Tally.plus, (tally([b]) for b in over), at.state.ended)
    state = replace(at.state, active=tuple(b.number for b in left), ended=ended)
    work.save_state(state)
    return Position(state, left, at.length)
