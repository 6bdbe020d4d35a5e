"""The shopping basket of ESAP, and the declared rules by which its entries become inputs of jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from esap_batch.errors import Problem, shown

ITEM = 'JSON text as ESAP keeps it: {"archive": "rucio", "record": {"scope": "dl3", "name": "/ctao/dl3/..."}}'
LAKE = "rucio"


@dataclass(frozen=True)
class Entry:
    """One thing that a user has put into the basket, or that a search has found.

    `source` says where it comes from (`basket.3`); `scope` and `kind` (`dataset` or `file`) are empty where
    the archive has none, or nothing was said.
    """

    source: str
    archive: str
    name: str
    scope: str = ""
    kind: str = ""

    @property
    def did(self) -> str:
        return f"{self.scope}:{self.name}" if self.scope else self.name


@dataclass(frozen=True)
class Unmatched:
    """An entry that no job gets, and why."""

    entry: Entry
    reason: str

    def __str__(self) -> str:
        return f"{self.entry.source}, {self.entry.archive} {self.entry.did}: {self.reason}"

    def document(self) -> dict[str, str]:
        return {**asdict(self.entry), "reason": self.reason}


@dataclass(frozen=True)
class InputRule:
    """What an entry has to be like, and which of its files (a pattern of names) are inputs."""

    title: str
    archive: str
    scope: str
    files: str
    kinds: tuple[str, ...] = ("dataset", "file")
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def refuses(self, entry: Entry) -> str:
        """Say why an entry is none of this rule's, by what the basket tells; empty when it may be one."""
        if entry.archive != self.archive:
            return f"no rule for archive {entry.archive}: rules are for {self.archive}"
        if entry.scope != self.scope:
            return f"no rule for scope {entry.scope}: {self.title} has scope {self.scope}"
        if entry.kind and entry.kind not in self.kinds:
            return f"no rule for a {entry.kind}: {self.title} is a {' or a '.join(self.kinds)}"
        return ""

    def refuses_metadata(self, metadata: Mapping[str, Any]) -> str:
        """Say why it is none of this rule's, by what the lake tells."""
        wrong = [
            f"{key} = {shown(metadata.get(key))}, {self.title} has {shown(value)}"
            for key, value in self.metadata.items()
            if metadata.get(key) != value
        ]
        return f"no rule for it: {'; '.join(wrong)}" if wrong else ""

    def takes(self, file_name: str) -> bool:
        return fnmatchcase(file_name, self.files)


def input_rules(documents: Iterable[Mapping[str, Any]]) -> tuple[InputRule, ...]:
    """Read the rules of a steering file."""
    return tuple(InputRule(**{**d, "kinds": tuple(d.get("kinds", InputRule.kinds))}) for d in documents)


def read_basket(items: Sequence[str]) -> tuple[list[Entry], list[Problem]]:
    """Read all items; give what they name, and a problem for each that cannot be read."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, item in enumerate(items):
        source = f"basket.{number}"
        try:
            entries.append(_entry(source, item))
        except ValueError as error:
            problems.append(Problem(source, item, ITEM, str(error)))
    return entries, problems


def _entry(source: str, item: str) -> Entry:
    try:
        document = json.loads(item)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    archive, record = _member(document, "archive", str), _member(document, "record", dict)
    if archive != LAKE:
        return Entry(source, archive, _label(record))
    name, scope = _member(record, "name", str, "record."), _member(record, "scope", str, "record.")
    return Entry(source, archive, name, scope, str(record.get("type") or "").lower())


def _member(document: Any, name: str, kind: type, where: str = "") -> Any:
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    value = document.get(name)
    if not isinstance(value, kind) or not value:
        raise ValueError(f"{where}{name} is {'missing' if value is None else 'wrong'}")
    return value


def _label(record: Mapping[str, Any]) -> str:
    """Name what another archive's record is about, as well as can be."""
    named = next((record[k] for k in ("name", "title", "id", "obs_id", "url") if record.get(k)), None)
    return str(named) if named is not None else shown(record)


def sorted_out(
    entries: Iterable[Entry], rules: Sequence[InputRule]
) -> tuple[list[tuple[Entry, InputRule]], list[Unmatched]]:
    """Give each entry its rule, the first that may take it; the others with the reason of every rule."""
    matched: list[tuple[Entry, InputRule]] = []
    unmatched: list[Unmatched] = []
    for entry in entries:
        reasons = [(rule, rule.refuses(entry)) for rule in rules]
        fitting = next((rule for rule, reason in reasons if not reason), None)
        if fitting:
            matched.append((entry, fitting))
        else:
            unmatched.append(Unmatched(entry, "; ".join(dict.fromkeys(reason for _, reason in reasons))))
    return matched, unmatched


def without_repeats(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Give each thing once, as it is named first."""
    seen: set[str] = set()
    for entry in entries:
        key = f"{entry.archive} {entry.did}"
        if key not in seen:
            seen.add(key)
            yield entry
