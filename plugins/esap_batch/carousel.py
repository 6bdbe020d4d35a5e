"""A sliding window over the observations of a campaign: what is recalled, run and let go of next.

Source of the idea: the data carousel of ATLAS/iDDS, which releases jobs while the recall of others goes on.
All here is pure: what Rucio and the back end say comes in, what is to be done next comes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

from esap_batch.observations import Observation

STUCK = "STUCK"
TAPE_STUCK = "TAPE_STUCK"
LOOK_AHEAD = 2  # observations under way for each job that may run


class Phase(StrEnum):
    """Where an observation is on its way."""

    WAITING = "WAITING"  # nothing has been asked for
    RECALLING = "RECALLING"  # its files come from tape
    READY = "READY"  # they are on disk, or as many as will come
    RUNNING = "RUNNING"  # its job is queued or runs
    RELEASING = "RELEASING"  # it is done or failed, its files are being deleted from disk
    ENDED = "ENDED"


class Outcome(StrEnum):
    """What has come of an observation."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"
    ELSEWHERE = "ELSEWHERE"  # another run makes it, or has made it in the meantime


ON_DISK = (Phase.RECALLING, Phase.READY, Phase.RUNNING, Phase.RELEASING)


@dataclass(frozen=True)
class Item:
    """One observation of a block.

    `index` is its place in the block and the index of its job; `product` the dataset to claim; `attempt` the
    newest submission of its job; `limits` what a retry was given more of; `stuck_at` Rucio's time stamp of
    the rule when it was boosted last; `repeats` how often it was made again since it had gone; `fresh` the
    LFNs that its recall brings and that were not on disk
    before; `left` those of earlier recalls, which may be there still; `recalled` the bytes that were asked
    for from tape, in all tries; `let_go` the time (ISO 8601) at which its files were released, or were last
    seen to be there still.
    """

    index: int
    observation: Observation
    product: str
    phase: Phase = Phase.WAITING
    outcome: Outcome = Outcome.PENDING
    rule: str = ""
    fresh: tuple[str, ...] = ()
    recalled: int = 0
    boosts: int = 0
    stuck_at: str = ""
    repeats: int = 0
    missing: tuple[str, ...] = ()
    attempt: int = 0
    first_attempt: int = 1
    limits: Mapping[str, int] | None = None
    reason: str = ""
    message: str = ""
    let_go: str = ""
    left: tuple[str, ...] = ()

    @property
    def disk_bytes(self) -> int:
        fresh = set(self.fresh)
        return sum(f.size for f in self.observation.files if f.lfn in fresh)

    @property
    def occupies(self) -> int:
        """Bytes that count against the window now."""
        return self.disk_bytes if self.phase in ON_DISK else 0

    def ended(self, outcome: Outcome, reason: str = "", message: str = "") -> Item:
        """Let go of it: through RELEASING where files are on disk for it."""
        phase = Phase.RELEASING if self.rule else Phase.ENDED
        return replace(self, phase=phase, outcome=outcome, reason=reason, message=message)

    def again(self) -> Item:
        """Give it another chance, with attempts of its own."""
        fresh = Item(self.index, self.observation, self.product, recalled=self.recalled, left=self.fresh)
        return replace(fresh, attempt=self.attempt, first_attempt=self.attempt + 1)

    def bringing(self, absent: Iterable[str]) -> Item:
        """Note which files its recall is going to bring; what earlier ones have left is as much its own."""
        brought = replace(self, fresh=tuple(absent))
        fresh = tuple(dict.fromkeys([*brought.fresh, *self.left]))
        return replace(brought, fresh=fresh, left=(), recalled=self.recalled + brought.disk_bytes)

    def come(self) -> Item:
        """Note that its files are there: a later recall has boosts of its own."""
        return replace(self, phase=Phase.READY, boosts=0, stuck_at="")

    def recalled_again(self, repeats: int = 0) -> Item:
        """Take it back to where it waits for its files: they are not on disk any more."""
        waiting = replace(self, phase=Phase.WAITING, rule="", boosts=0, stuck_at="", missing=())
        waiting = replace(waiting, repeats=repeats)
        return replace(waiting, fresh=(), left=self.fresh)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Item:
        """Read what `Block.document` wrote."""
        names = ("fresh", "missing", "left")
        body = {**document, **{n: tuple(document.get(n, ())) for n in names}}
        body["observation"] = Observation.of(document["observation"])
        body["phase"], body["outcome"] = Phase(document["phase"]), Outcome(document["outcome"])
        return cls(**body)


@dataclass(frozen=True)
class Block:
    """Observations that are kept track of together, and share one batch of jobs."""

    number: int
    items: tuple[Item, ...]

    @property
    def is_ended(self) -> bool:
        return all(i.phase is Phase.ENDED for i in self.items)

    def having(self, *phases: Phase) -> list[Item]:
        return [i for i in self.items if i.phase in phases]

    def replaced(self, changed: Iterable[Item]) -> Block:
        new = {i.index: i for i in changed}
        return replace(self, items=tuple(new.get(i.index, i) for i in self.items))

    def document(self) -> dict[str, Any]:
        return {"number": self.number, "items": [asdict(i) for i in self.items]}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Block:
        return cls(int(document["number"]), tuple(Item.of(i) for i in document["items"]))


@dataclass(frozen=True)
class Rules:
    """How a campaign is run.

    `window_bytes` of disk for recalled files; `max_jobs` queued or running; `boosts` of a stuck recall, and
    repetitions of one that is gone (at least one), before the campaign goes on without the files;
    `missing_fraction` of an observation's files that may be missing; `max_attempts` of a job; `hold_after`
    failures of one kind.
    """

    window_bytes: int
    max_jobs: int
    boosts: int = 2
    missing_fraction: float = 0.0
    max_attempts: int = 3
    hold_after: int = 10


@dataclass(frozen=True)
class RecallState:
    """What Rucio says of one recall."""

    state: str
    updated_at: str
    error: str = ""


@dataclass(frozen=True)
class Tally:
    """Observations and bytes by phase or outcome, failures by reason, and bytes asked for from tape."""

    observations: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    recalled: int = 0

    def plus(self, other: Tally) -> Tally:
        observations, sizes, failures = (
            {k: a.get(k, 0) + b.get(k, 0) for k in sorted({*a, *b})} for a, b in self._with(other)
        )
        return Tally(observations, sizes, failures, self.recalled + other.recalled)

    def _with(self, other: Tally) -> Iterator[tuple[Mapping[str, int], Mapping[str, int]]]:
        yield self.observations, other.observations
        yield self.sizes, other.sizes
        yield self.failures, other.failures


def blocks_of(todo: Sequence[tuple[Observation, str]], length: int) -> list[Block]:
    """Cut a campaign into blocks of at most `length` observations with their products, in the order given."""
    return [
        Block(
            n, tuple(Item(i, one, product) for i, (one, product) in enumerate(todo[start : start + length]))
        )
        for n, start in enumerate(range(0, len(todo), length))
    ]


def admitted(blocks: Sequence[Block], rules: Rules) -> list[tuple[int, Item]]:
    """Choose what is recalled next, as (block, observation): in order, and never past the window.

    Order is strict, so that a large observation is not overtaken for ever by small ones. No more are under
    way than keep the jobs busy: what a turn looks at stays bounded however large the window is.
    """
    under_way = [i for b in blocks for i in b.having(*ON_DISK)]
    used, room = sum(i.occupies for i in under_way), LOOK_AHEAD * rules.max_jobs - len(under_way)
    chosen: list[tuple[int, Item]] = []
    for block in blocks:
        for item in block.having(Phase.WAITING):
            used += item.observation.size
            if used > rules.window_bytes or len(chosen) >= room:
                return chosen
            chosen.append((block.number, item))
    return chosen


def startable(blocks: Sequence[Block], rules: Rules) -> list[tuple[int, Item]]:
    """Choose what is submitted next: staged first, first out, within the throttle."""
    room = rules.max_jobs - sum(len(b.having(Phase.RUNNING)) for b in blocks)
    ready = [(b.number, i) for b in blocks for i in b.having(Phase.READY)]
    return ready[: max(room, 0)]


class Step(StrEnum):
    """What to do about a recall."""

    WAIT = "WAIT"
    GO = "GO"
    BOOST = "BOOST"
    GIVE_UP = "GIVE_UP"


def recall_step(item: Item, recall: RecallState | None, rules: Rules) -> Step:
    """Decide about one recall; None: the rule is gone, and with it the files.

    A boost is spent when Rucio has handled the rule since, which its time stamp tells.
    """
    if recall and recall.state == "OK":
        return Step.GO
    if recall and (recall.state != STUCK or recall.updated_at <= item.stuck_at):
        return Step.WAIT
    if recall:
        return Step.BOOST if item.boosts < rules.boosts else Step.GIVE_UP
    if item.boosts and item.boosts >= rules.boosts:  # a turn that gave it up was killed after the release
        return Step.GIVE_UP
    return Step.BOOST if item.repeats < max(rules.boosts, 1) else Step.GIVE_UP


def given_up(item: Item, missing: Sequence[str], error: str, rules: Rules) -> Item:
    """Go on without the files that do not come, or without the observation when they are too many."""
    total = len(item.observation.files)
    allowed = share(rules.missing_fraction, total)
    if len(missing) <= allowed and len(missing) < total:
        return replace(item.come(), missing=tuple(missing))
    message = (
        f"{len(missing)} of {total} files do not come from tape, allowed are {allowed}: {error or 'unknown'}"
    )
    return replace(item, missing=tuple(missing)).ended(Outcome.FAILED, TAPE_STUCK, message)


def share(fraction: float, count: int) -> int:
    """Give how many of `count` a fraction allows, as it was written: 0.29 of 100 are 29."""
    return int(Fraction(str(fraction)) * count)


def tally(blocks: Iterable[Block]) -> Tally:
    """Count by phase, and by outcome what has ended."""
    observations: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    recalled = 0
    for item in (i for b in blocks for i in b.items):
        word = _word(item)
        observations[word] += 1
        sizes[word] += item.observation.size
        recalled += item.recalled
        if item.outcome is Outcome.FAILED:
            failures[item.reason] += 1
    return Tally(dict(observations), dict(sizes), dict(failures), recalled)


def _word(item: Item) -> str:
    if item.outcome is not Outcome.PENDING:
        return item.outcome.lower()
    return item.phase.lower()


def held_for(total: Tally, rules: Rules) -> str:
    """Give the kind of failure that is too frequent to go on, or nothing."""
    worst = max(total.failures, key=lambda k: total.failures[k], default="")
    return worst if worst and total.failures[worst] >= rules.hold_after else ""


def progress(total: Tally, blocks_left: tuple[int, int], elapsed_s: float, held: str = "") -> dict[str, Any]:
    """Describe how far a campaign is: `text` for people, the rest in numbers.

    `blocks_left` are observations and bytes of blocks that have not begun. The estimate of the end assumes
    that bytes go on at the pace they had so far.
    """
    n, size = dict(total.observations), dict(total.sizes)
    waiting, waiting_bytes = blocks_left
    n["waiting"], size["waiting"] = n.get("waiting", 0) + waiting, size.get("waiting", 0) + waiting_bytes
    over = sum(size.get(k, 0) for k in ("done", "failed", "elsewhere"))
    whole = sum(size.values())
    left_s = None if not over or held else round(elapsed_s * (whole - over) / over)
    observations = {k: v for k, v in n.items() if v}
    words = [f"observations {n.get('done', 0)} of {sum(n.values())} done"]
    words += [
        f"{n[k]} {k}" for k in ("running", "ready", "recalling", "waiting", "failed", "elsewhere") if n.get(k)
    ]
    if held:
        words.append(f"HELD: {held}")
    elif left_s:
        words.append(f"about {_duration(left_s)} left")
    return {
        "text": ", ".join(words),
        "observations": observations,
        "bytes": {k: v for k, v in size.items() if v},
        "failures": dict(total.failures),
        "elapsed_s": round(elapsed_s),
        "left_s": left_s,
        "held": held,
    }


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    if seconds < 5400:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
