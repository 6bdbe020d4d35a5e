"""Provenance (PROV-JSON) as a picture: what was used above what was done above what came out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any

from portal.pages import words

WIDTH, HEIGHT, GAP, RISE = 208, 64, 16, 44  # of a box, between boxes, between rows (px)
MOST = 4  # files of one kind that are drawn one by one
LONGEST = 28  # characters that fit into a box


@dataclass(frozen=True)
class Box:
    """A thing or something that was done. `lines` are written in it, `title` is told in full."""

    id: str
    kind: str
    title: str
    lines: tuple[str, ...]
    x: float = 0
    y: float = 0


@dataclass(frozen=True)
class Line:
    """From what came first to what came of it, by points of a cubic curve."""

    path: str


@dataclass(frozen=True)
class Picture:
    """Boxes in rows, as large as they need; `words` says the same as text."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    words: str


@dataclass
class _Graph:
    boxes: dict[str, Box] = field(default_factory=dict)
    before: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, box: Box) -> None:
        self.boxes[box.id] = box

    def join(self, first: str, then: str) -> None:
        if first in self.boxes and then in self.boxes:
            self.before[then].add(first)


def draw(document: Mapping[str, Any]) -> Picture:
    """Lay a provenance document out."""
    graph = _graph(document)
    rows = _rows(graph)
    edges = _without_shortcuts(graph)
    placed = _placed(graph, rows, edges)
    lines = tuple(_line(placed[a], placed[b]) for a, b in edges)
    widest = max((len(row) for row in rows), default=0)
    return Picture(
        width=widest * (WIDTH + GAP) + GAP,
        height=len(rows) * (HEIGHT + RISE) - RISE + 2 * GAP,
        boxes=tuple(placed.values()),
        lines=lines,
        words="; ".join(f"{placed[a].title}, then {placed[b].title}" for a, b in edges),
    )


def _graph(document: Mapping[str, Any]) -> _Graph:
    graph, stands_for = _Graph(), _gathered(document)
    for name, told in document.get("activity", {}).items():
        graph.add(_activity(name, told, document))
    for name, members in stands_for.items():
        graph.add(_entity(name, members, document))
    of = {member: name for name, members in stands_for.items() for member in members}
    for one in document.get("used", {}).values():
        graph.join(of.get(one["prov:entity"], ""), one["prov:activity"])
    for one in document.get("wasGeneratedBy", {}).values():
        graph.join(one["prov:activity"], of.get(one["prov:entity"], ""))
    for one in document.get("wasInformedBy", {}).values():
        graph.join(one["prov:informant"], one["prov:informed"])
    return graph


def _gathered(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Put files that were made, or used, by the same together where there are many."""
    made = {one["prov:entity"]: one["prov:activity"] for one in document.get("wasGeneratedBy", {}).values()}
    used = {one["prov:entity"]: one["prov:activity"] for one in document.get("used", {}).values()}
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in document.get("entity", {}):
        alike[made.get(name, ""), "" if name in made else used.get(name, "")].append(name)
    found: dict[str, list[str]] = {}
    for names in alike.values():
        single = names if len(names) <= MOST + 1 else names[:MOST]
        found |= {name: [name] for name in single}
        if rest := names[len(single) :]:
            found[f"rest of {names[0]}"] = rest
    return found


def _entity(name: str, members: list[str], document: Mapping[str, Any]) -> Box:
    entities = document["entity"]
    if name not in entities:
        total = sum(int(entities[m].get("esap:size", 0)) for m in members)
        title = f"{len(members)} more files"
        return Box(name, "entity", title, (title, words.size(total)))
    told = entities[name]
    title = str(told.get("prov:label", name.rsplit("/", 1)[-1]))
    return Box(name, "entity", title, (_short(title), words.size(told.get("esap:size"))))


def _activity(name: str, told: Mapping[str, Any], document: Mapping[str, Any]) -> Box:
    if "esap:step" not in told:
        people = [
            n.rsplit("/", 1)[-1] for n, a in document["agent"].items() if a.get("prov:type") == "prov:Person"
        ]
        title = str(told.get("esap:dag_run", name.rsplit("/", 1)[-1]))
        return Box(name, "activity", f"run {title}", (_short(f"Run {title}"), f"for {', '.join(people)}"))
    title = str(told["esap:step"]).replace("_", " ")
    count, facility = told.get("esap:jobs", 0), told.get("esap:facility", "")
    where = f"{count} job{'s' * (count != 1)} at {facility}"
    software = ", ".join(_software(name, document))
    return Box(name, "activity", title, (_short(title), _short(where), _short(software)))


def _software(activity: str, document: Mapping[str, Any]) -> Iterable[str]:
    for one in document.get("wasAssociatedWith", {}).values():
        agent = document.get("agent", {}).get(one["prov:agent"], {})
        if one["prov:activity"] == activity and "esap:name" in agent:
            yield f"{agent['esap:name']} {agent.get('esap:version', '')}".strip()


def _rows(graph: _Graph) -> list[list[str]]:
    """Put each box below all that came before it, and inputs right above what uses them."""
    depth: dict[str, int] = {}
    for name in TopologicalSorter({n: graph.before.get(n, set()) for n in graph.boxes}).static_order():
        depth[name] = max((depth[b] + 1 for b in graph.before.get(name, ())), default=0)
    for name in graph.boxes:
        after = [depth[n] for n, b in graph.before.items() if name in b]
        if not graph.before.get(name) and after:
            depth[name] = max(depth[name], min(after) - 1)
    rows: dict[int, list[str]] = defaultdict(list)
    for name in graph.boxes:
        rows[depth[name]].append(name)
    return [rows[n] for n in sorted(rows)]


def _without_shortcuts(graph: _Graph) -> list[tuple[str, str]]:
    """List the edges but those that a longer way makes needless."""
    above: dict[str, set[str]] = {}
    for name in TopologicalSorter({n: graph.before.get(n, set()) for n in graph.boxes}).static_order():
        near = graph.before.get(name, set())
        above[name] = near | {far for one in near for far in above[one]}
    return [
        (first, then)
        for then in graph.boxes
        for first in sorted(graph.before.get(then, ()))
        if not any(first in above[other] for other in graph.before[then] if other != first)
    ]


def _placed(graph: _Graph, rows: list[list[str]], edges: list[tuple[str, str]]) -> dict[str, Box]:
    widest = max((len(row) for row in rows), default=0) * (WIDTH + GAP)
    placed: dict[str, Box] = {}
    for number, row in enumerate(rows):
        middle = {n: [placed[a].x for a, b in edges if b == n and a in placed] or [widest / 2] for n in row}
        ordered = sorted(row, key=lambda n: sum(middle[n]) / len(middle[n]))
        left = GAP + (widest - len(row) * (WIDTH + GAP)) / 2
        for place, name in enumerate(ordered):
            x, y = left + place * (WIDTH + GAP), GAP + number * (HEIGHT + RISE)
            placed[name] = replace(graph.boxes[name], x=x, y=y)
    return placed


def _line(first: Box, then: Box) -> Line:
    x1, y1, x2, y2 = first.x + WIDTH / 2, first.y + HEIGHT, then.x + WIDTH / 2, then.y
    bend = (y2 - y1) / 2
    return Line(f"M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2:.0f}")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
