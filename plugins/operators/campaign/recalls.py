"""The tape side of the window: claim, recall, watch, let go."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from esap_batch.carousel import Block, Item, Outcome, Phase, RecallState, Step, given_up, recall_step
from esap_batch.products import base_of, claim_metadata, scope_of
from hooks.lake_bulk import Recall
from operators.campaign.work import Work

LOG = logging.getLogger(__name__)
LINGER = timedelta(minutes=10)  # Rucio's reaper deletes what nobody wants within minutes


def claim(work: Work, items: Sequence[Item]) -> list[Item]:
    """Claim the products of observations that have their turn; those that others hold are left to them."""
    common = {**claim_metadata(work.steering, work.run), **work.claimed}
    created = work.lake.claim({i.product: {**common, "obs_id": i.observation.obs_id} for i in items})
    standing = [i.product for i in items if i.product not in created]
    holders = _holders(work, standing)
    work.lake.describe({p: {"esap_state": "claimed"} for p in standing if holders[p] == work.run})
    return [
        i
        if holders.get(i.product, work.run) == work.run
        else i.ended(Outcome.ELSEWHERE, message=f"run {holders[i.product]} makes it")
        for i in items
    ]


def _holders(work: Work, products: Sequence[str]) -> dict[str, str]:
    """Give the run that has the newest claim on each product that was claimed before."""
    if not products:
        return {}
    claims = work.lake.claims(scope_of(products[0]), work.claimed)
    newest = {base: max(known, key=lambda pair: pair[0].generation)[0] for base, known in claims.items()}
    return {p: newest[base_of(p)].run for p in products}


def note_failures(work: Work, items: Sequence[Item]) -> None:
    """Say at the claims of failed observations why, for later runs to judge by."""
    work.lake.describe(
        {
            i.product: {"esap_state": "failed", "esap_reason": i.reason, "esap_message": i.message}
            for i in items
            if i.outcome is Outcome.FAILED
        }
    )


def note_fresh(work: Work, items: Sequence[Item]) -> list[Item]:
    """Note which files are not on disk yet: once they were asked for, nobody can tell.

    What was noted in an earlier try stays.
    """
    new = [i for i in items if not i.fresh]
    pfns = work.site.pfns(f.lfn for i in new for f in i.observation.files)
    there = work.site.storage.exists(pfns.values())
    noted = {i.index: i.bringing(f.lfn for f in i.observation.files if pfns[f.lfn] not in there) for i in new}
    return [noted.get(i.index, i) for i in items]


def recall(work: Work, items: Sequence[Item]) -> list[Item]:
    """Ask for the files of observations on the facility's disk; what is there already is only protected."""
    rse = work.site.facility.storage_rse
    wanted = {i.index: work.lake.recallable(i.observation, work.tag) for i in items}
    rules = work.lake.recall(list(wanted.values()), rse, work.tag, work.steering["campaign"]["priority"])
    return [replace(i, phase=Phase.RECALLING, rule=rules[wanted[i.index]]) for i in items]


def watch(work: Work, block: Block, recalls: Mapping[str, Recall]) -> Block:
    """See which recalls have ended, boost those that are stuck, and give up where that does not help.

    One that is gone, since it has expired or somebody has deleted it, is made again.
    """
    gone = [i for i in block.having(Phase.READY) if i.rule not in recalls]
    items = [*block.having(Phase.RECALLING), *gone]
    return block.replaced(_watched(work, i, recalls.get(i.rule)) for i in items)


def renew(work: Work, recalls: Iterable[Recall]) -> None:
    """Let recalls stand for as long as the run goes on."""
    for one in recalls:
        if one.expires_soon:
            work.lake.renew(one.rule_id)


def _watched(work: Work, item: Item, found: Recall | None) -> Item:
    state = RecallState(found.state, found.updated_at, found.error) if found else None
    number = item.observation.obs_id
    match recall_step(item, state, work.rules):
        case Step.GO:
            return item.come()
        case Step.BOOST if found:
            work.lake.boost(item.rule)
            LOG.warning("observation %d: its recall is stuck, trying again: %s", number, found.error)
            return replace(item, boosts=item.boosts + 1, stuck_at=found.updated_at)
        case Step.BOOST:
            LOG.warning("observation %d: its recall is gone, asking for its files again", number)
            return item.recalled_again(repeats=item.repeats + 1)
        case Step.GIVE_UP:
            error = found.error if found else "the rule is gone, again and again"
            missing = work.lake.missing(item.rule) if found else [f.lfn for f in item.observation.files]
            for lfn in missing:
                LOG.warning("observation %d: goes on without %s, which does not come: %s", number, lfn, error)
            return given_up(item, missing, error, work.rules)
        case _:
            return item


def release(work: Work, block: Block, *, wait: bool) -> Block:
    """Give back the disk of observations that are over; with `wait`, until the files are really gone."""
    items = block.having(Phase.RELEASING)
    for item in items:
        if item.rule:
            work.lake.release(item.rule)
    items = [replace(i, rule="", let_go=i.let_go or datetime.now(UTC).isoformat()) for i in items]
    pfns = work.site.pfns(lfn for i in items for lfn in i.fresh) if wait else {}
    there = work.site.storage.exists(pfns.values())
    items = [_without_others(work, i, {lfn for lfn in i.fresh if pfns.get(lfn) in there}) for i in items]
    gone = [i for i in items if not any(pfns.get(lfn) in there for lfn in i.fresh)]
    return block.replaced(items).replaced(replace(i, phase=Phase.ENDED) for i in gone)


def _without_others(work: Work, item: Item, there: Collection[str]) -> Item:
    """Count no more what is still there after a while because somebody else's rule keeps it."""
    since = datetime.fromisoformat(item.let_go)
    if not there or datetime.now(UTC) - since < LINGER:
        return item
    pinned = work.lake.pinned(sorted(there), work.site.facility.storage_rse)
    LOG.warning(
        "observation %d: %d of its files are on disk still since %s; %d of these are kept for others",
        item.observation.obs_id, len(there), item.let_go, len(pinned),
    )  # fmt: skip
    left = tuple(lfn for lfn in item.fresh if lfn not in pinned)
    return replace(item, fresh=left, let_go=datetime.now(UTC).isoformat())
