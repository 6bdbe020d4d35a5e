"""From basket and search to what the jobs of an analysis get: observations, each with its response if any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from esap_batch.basket import LAKE, Entry, InputRule, Unmatched, sorted_out, without_repeats
from esap_batch.fingerprint import canonical_json
from esap_batch.irf_matching import Fit, Irf, NoIrfFits, best_irf
from esap_batch.jobs import InputFile
from esap_batch.observations import Observation, named_apart, volume_by_place
from esap_batch.partition import Splitting, Unit, divide

SELECTION_SCHEMA = 1
DATASET, FILE = "DATASET", "FILE"
SHOWN = 20  # unmatched entries that an error lists
LONGEST_TEXT = 1000  # characters of one metadata value
SUPERSEDED = "superseded"


class SelectionRefused(ValueError):  # noqa: N818 - says what happened
    """Nothing can be made of the request's data as its policies are."""


class Catalogue(Protocol):
    """What a selection asks the lake."""

    def find(self, scope: str, filters: Sequence[Mapping[str, Any]]) -> list[str]:
        """List DIDs of a scope whose metadata match one of `filters`."""

    def columns(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Give `did_type`, `is_open`, `bytes` and `adler32` of each name that is known."""

    def metadata(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Give the metadata of each name that has any."""

    def files(self, datasets: Sequence[str]) -> dict[str, tuple[InputFile, ...]]:
        """Give the files of each dataset."""

    def dataset_of(self, lfn: str) -> str:
        """Give the dataset that a file is in; empty when it is in none."""


@dataclass(frozen=True)
class Policy:
    """How a selection is made. `refuses` says why the user may not read a project's data.

    With `fit` each observation needs a response that fits so well; without, none is looked for.
    """

    rules: tuple[InputRule, ...]
    refuses: Callable[[str], str]
    splitting: Splitting
    fit: Fit | None = None
    fail_on_missing_irf: bool = True
    fail_on_unmatched: bool = False


@dataclass(frozen=True)
class Chosen:
    """An observation with where it comes from and the response that goes with it, if it needs one."""

    source: str
    observation: Observation
    irf: Irf | None = None

    @property
    def files(self) -> tuple[InputFile, ...]:
        """All files that belong to it, the response under a name of its own."""
        return (*self.observation.files, *([named_irf(self.irf)] if self.irf else []))


@dataclass(frozen=True)
class DataSelection:
    """What the jobs get, and what they do not."""

    chosen: tuple[Chosen, ...]
    units: tuple[Unit, ...]
    unmatched: tuple[Unmatched, ...] = field(default=())

    @property
    def inputs(self) -> list[InputFile]:
        """All files that the jobs read, each once, the responses under names of their own."""
        files = [f for c in self.chosen for f in c.files]
        return sorted({f.lfn: f for f in files}.values(), key=lambda f: f.lfn)

    @property
    def digest(self) -> str:
        """Give SHA-256 of what decides the result: which files are analysed together, with which response."""
        irfs = {c.observation.dataset: c.irf.file.adler32 for c in self.chosen if c.irf}
        deciding = [
            [[p.obs_id, [[f.lfn, f.adler32] for f in p.files], irfs.get(p.dataset)] for p in u.parts]
            for u in self.units
        ]
        return hashlib.sha256(canonical_json(deciding).encode()).hexdigest()

    def needs(self, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Say what a facility has to cope with; `places` gives the RSEs of each LFN."""
        return {"jobs": len(self.units), "input_rses": volume_by_place([*self._volumes()], places)}

    def _volumes(self) -> Iterator[Observation]:
        for chosen in self.chosen:
            yield chosen.observation
        irfs = {c.irf.dataset: c.irf for c in self.chosen if c.irf}
        for irf in irfs.values():
            yield Observation(0, irf.dataset, files=(irf.file,))

    @property
    def about(self) -> dict[str, Any]:
        """Describe the selection in metadata of the product; texts and numbers only."""
        metadata = [c.observation.metadata for c in self.chosen]
        texts = {
            "project": {str(m.get("project")) for m in metadata},
            "target": {str(m.get("target")) for m in metadata},
            "selected_obs_ids": {str(c.observation.obs_id) for c in self.chosen},
            "selected_irfs": {c.irf.dataset for c in self.chosen if c.irf},
        }
        about: dict[str, Any] = {name: _text(values) for name, values in texts.items() if values}
        counts = len(self.chosen), len(self.unmatched)
        told = {"selected_observations": counts[0], "selected_unmatched": counts[1]}
        return {**about, **_period(metadata), **_pointing(metadata), **told}

    def document(self) -> dict[str, Any]:
        """Give the selection as JSON, as it is kept with the product."""
        irfs = {c.observation.dataset: c.irf for c in self.chosen}
        return {
            "schema": SELECTION_SCHEMA,
            "observations": [_observation_document(c) for c in self.chosen],
            "units": [
                {"label": u.label, "parts": [_part(p, irfs[p.dataset]) for p in u.parts]} for u in self.units
            ],
            "inputs": [asdict(f) for f in self.inputs],
            "unmatched": [u.document() for u in self.unmatched],
        }


def named_irf(irf: Irf) -> InputFile:
    """Give a response's file under a name that no other dataset's has."""
    return replace(irf.file, name=f"irf_{irf.dataset.rsplit('/', 1)[-1]}.fits.gz")


def _observation_document(chosen: Chosen) -> dict[str, Any]:
    observation, irf = chosen.observation, chosen.irf
    document = {
        "source": chosen.source,
        "obs_id": observation.obs_id,
        "dataset": observation.dataset,
        "project": observation.metadata.get("project"),
        "target": observation.metadata.get("target"),
        "start_time": observation.metadata.get("start_time"),
        "files": [f.lfn for f in observation.files],
    }
    if irf is None:
        return document
    turn = irf.azimuth_distance(observation.metadata)
    return {
        **document,
        "irf": irf.dataset,
        "irf_zenith_distance_deg": round(irf.zenith_distance(observation.metadata), 6),
        "irf_azimuth_distance_deg": None if turn is None else round(turn, 6),
    }


def _part(part: Observation, irf: Irf | None) -> dict[str, Any]:
    lfns = [f.lfn for f in part.files]
    document = {"obs_id": part.obs_id, "events": [f.name for f in part.files], "lfns": lfns}
    if irf is None:
        return document
    irf_file = named_irf(irf)
    return {**document, "irf": irf_file.name, "lfns": [*lfns, irf_file.lfn]}


def search_project(catalogue: Catalogue, rules: Sequence[InputRule], project: str) -> list[Entry]:
    """Find the observations of a project by every rule for the lake, the newest of equal ones first."""
    source = f"project {project}"
    entries: list[Entry] = []
    for rule in rules:
        if rule.archive != LAKE:
            continue
        names = catalogue.find(rule.scope, [{**rule.metadata, "project": project}])
        datasets = [n for n, row in catalogue.columns(names).items() if row["did_type"] == DATASET]
        known = catalogue.metadata(datasets)
        datasets.sort(key=lambda n: (str(known[n].get("product_creation_time", "")), n), reverse=True)
        entries += [Entry(source, LAKE, name, rule.scope, "dataset") for name in datasets]
    return entries


def published_irfs(catalogue: Catalogue) -> list[Irf]:
    """List the responses that the workflow cta_irf has published."""
    conditions = {"esap_workflow": "cta_irf", "esap_state": "published", "esap_file": "irf.fits.gz"}
    names = catalogue.find("irf", [conditions])
    columns, metadata = catalogue.columns(names), catalogue.metadata(names)
    datasets = {name: name.rsplit("/", 1)[0] for name in names}
    closed = {n for n, row in catalogue.columns(sorted(set(datasets.values()))).items() if not row["is_open"]}
    return [
        Irf(datasets[name], metadata[name], _input_file(name, row))
        for name, row in columns.items()
        if datasets[name] in closed
    ]


def select(entries: Iterable[Entry], catalogue: Catalogue, policy: Policy) -> DataSelection:
    """Map entries to observations and these to units; every entry ends up in one or among the unmatched.

    SelectionRefused when nothing is left, or when what is missing is more than the policy bears.
    """
    given = list(without_repeats(entries))
    matched, unmatched = sorted_out(given, policy.rules)
    candidates, more = _look_up(matched, catalogue, policy)
    unmatched += more
    observations, more = _once(candidates)
    unmatched += more
    chosen, without_irf = _with_irf(observations, catalogue, policy)
    if without_irf and policy.fail_on_missing_irf:
        raise SelectionRefused(_listed("on_missing_irf = fail, and an IRF is missing:", without_irf))
    unmatched = _in_order(given, [*unmatched, *without_irf])
    if unmatched and policy.fail_on_unmatched:
        raise SelectionRefused(_listed("unmatched = fail, and not all entries can be used:", unmatched))
    if not chosen:
        reasons = unmatched or [Unmatched(Entry("the search", LAKE, "no observation"), "nothing was found")]
        raise SelectionRefused(_listed("nothing is left to be analysed:", reasons))
    try:
        units = divide([c.observation for c in chosen], policy.splitting)
    except ValueError as error:
        raise SelectionRefused(str(error)) from None
    return DataSelection(tuple(chosen), tuple(units), tuple(unmatched))


def _in_order(given: Sequence[Entry], unmatched: Iterable[Unmatched]) -> list[Unmatched]:
    places = {entry: place for place, entry in enumerate(given)}
    return sorted(unmatched, key=lambda u: places.get(u.entry, len(places)))


def _look_up(
    matched: Sequence[tuple[Entry, InputRule]], catalogue: Catalogue, policy: Policy
) -> tuple[list[tuple[Entry, Observation]], list[Unmatched]]:
    columns = catalogue.columns([e.name for e, _ in matched])
    holders = {
        e.name: e.name if columns[e.name]["did_type"] != FILE else catalogue.dataset_of(e.name)
        for e, _ in matched
        if e.name in columns
    }
    metadata = catalogue.metadata(sorted({h for h in holders.values() if h}))
    datasets = [h for n, h in holders.items() if columns[n]["did_type"] == DATASET]
    files = catalogue.files(datasets)
    candidates: list[tuple[Entry, Observation]] = []
    unmatched: list[Unmatched] = []
    for entry, rule in matched:
        row, holder = columns.get(entry.name), holders.get(entry.name, "")
        meta = metadata.get(holder, {})
        if reason := _refusal(entry, rule, row, meta, policy):
            unmatched.append(Unmatched(entry, reason))
            continue
        assert row is not None
        own = (_input_file(entry.name, row),) if row["did_type"] == FILE else files[holder]
        taken = tuple(f for f in own if rule.takes(f.name))
        if taken:
            candidates.append((entry, Observation(int(meta["obs_id"]), holder, meta, taken)))
        else:
            unmatched.append(Unmatched(entry, f"no file of it is named like {rule.files}"))
    return candidates, unmatched


def _refusal(
    entry: Entry,
    rule: InputRule,
    row: Mapping[str, Any] | None,
    metadata: Mapping[str, Any],
    policy: Policy,
) -> str:
    """Say why an entry cannot be used. What the user may not read is not described further."""
    if row is None:
        return "it is not in the data lake"
    if reason := policy.refuses(str(metadata.get("project") or "")):
        return reason
    if reason := rule.refuses(replace(entry, kind=str(row["did_type"]).lower())):
        return reason
    if row["did_type"] == DATASET and row["is_open"]:
        return "it is not published: its dataset is open"
    return _metadata_refusal(entry, rule, metadata)


def _metadata_refusal(entry: Entry, rule: InputRule, metadata: Mapping[str, Any]) -> str:
    if metadata.get("esap_state") == SUPERSEDED and not entry.source.startswith("basket"):
        return f"it is superseded by {metadata.get('esap_superseded_by', 'a newer one')}"
    if "obs_id" not in metadata:
        return "it has no metadata obs_id"
    return rule.refuses_metadata(metadata)


def _once(
    candidates: Sequence[tuple[Entry, Observation]],
) -> tuple[list[tuple[str, Observation]], list[Unmatched]]:
    """Take each observation from one dataset only, and each of its files once, under a name of its own."""
    taken: dict[int, tuple[str, Observation]] = {}
    unmatched: list[Unmatched] = []
    for entry, observation in candidates:
        source, there = taken.get(observation.obs_id, (entry.source, observation))
        if there.dataset != observation.dataset:
            reason = f"observation {there.obs_id} is taken from {there.dataset} already ({source})"
            unmatched.append(Unmatched(entry, reason))
            continue
        files = {f.lfn: f for f in (*there.files, *observation.files)}
        together = replace(there, files=tuple(files[lfn] for lfn in sorted(files)))
        taken[observation.obs_id] = source, together
    sources, observations = [source for source, _ in taken.values()], [o for _, o in taken.values()]
    return list(zip(sources, named_apart(observations), strict=True)), unmatched


def _with_irf(
    observations: Sequence[tuple[str, Observation]], catalogue: Catalogue, policy: Policy
) -> tuple[list[Chosen], list[Unmatched]]:
    if policy.fit is None:
        bare = [Chosen(source, observation) for source, observation in observations]
        return sorted(bare, key=lambda c: c.observation.obs_id), []
    irfs = published_irfs(catalogue) if observations else []
    chosen: list[Chosen] = []
    without: list[Unmatched] = []
    for source, observation in observations:
        try:
            irf = best_irf(observation.metadata, irfs, policy.fit)
        except NoIrfFits as miss:
            entry = Entry(source, LAKE, observation.dataset)
            without.append(Unmatched(entry, f"observation {observation.obs_id}: {miss}"))
        else:
            chosen.append(Chosen(source, observation, irf))
    return sorted(chosen, key=lambda c: c.observation.obs_id), without


def _input_file(lfn: str, row: Mapping[str, Any]) -> InputFile:
    return InputFile(lfn.rsplit("/", 1)[-1], lfn, int(row["bytes"]), str(row["adler32"]))


def _text(values: Iterable[str]) -> str:
    """List values in one text, cut to `LONGEST_TEXT`."""
    text = ", ".join(sorted(values))
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def _period(observations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Give the time of all observations, as far as each of them tells its own."""
    ends = {"start_time": min, "stop_time": max}
    told = {name: [str(o[name]) for o in observations if o.get(name)] for name in ends}
    return {name: ends[name](times) for name, times in told.items() if 0 < len(times) == len(observations)}


def _pointing(observations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say where the only observation has looked."""
    names = [n for n in ("ra_pnt_deg", "dec_pnt_deg") if len(observations) == 1 and n in observations[0]]
    return {name: observations[0][name] for name in names}


def _listed(sentence: str, unmatched: Sequence[Unmatched]) -> str:
    lines = [f"- {u}" for u in unmatched[:SHOWN]]
    more = [f"- and {len(unmatched) - SHOWN} more"] if len(unmatched) > SHOWN else []
    return "\n".join([sentence, *lines, *more])
