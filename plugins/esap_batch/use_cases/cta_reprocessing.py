"""UC2 of CTA: raw data (DL0) on tape to DL3 event lists in the lake, a job and a product an observation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from esap_batch.carousel import Item, Rules
from esap_batch.errors import MISSING, Problem
from esap_batch.facilities import Requirements
from esap_batch.fingerprint import canonical_json
from esap_batch.identity import Identity
from esap_batch.jobs import JobSpec, Limits, OutputSpec
from esap_batch.observations import Observation, Selection, parse_numbers
from esap_batch.products import WORK_AREA, work_lfn
from esap_batch.use_cases.shared import CONFIG, NOOP, dated, needed
from esap_batch.workflows import Workflow

SCOPE = "acada"  # of the raw data
EXPECT = "expect.json"
GIGABYTE = 1e9
NUMBERS = ("obs_ids", "sb_ids", "telescopes")
SELECTING = ("obs_ids", "sb_ids", "start_from", "start_to", "project")
FORMER_CACHE = "/ctao/esap/cache"  # of transient products, in versions before
# What a DL3 product takes over from its observation.
INHERITED = (
    "obs_id", "sb_id", "project", "target", "site", "array_layout", "model_version", "start_time",
    "stop_time", "ra_pnt_deg", "dec_pnt_deg", "ra_obj_deg", "dec_obj_deg", "zenith_deg",
    "azimuth_deg",
)  # fmt: skip


def check(request: Mapping[str, Any], _workflow: Workflow) -> list[Problem]:
    """Check lists of numbers, the period, and that anything is selected at all."""
    return [*_number_problems(request), *_period_problems(request), *_selection_problems(request)]


def required(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the metadata without which no DL3 can be made; the telescopes' direction is only told on."""
    if request["processor"] == NOOP:
        return ()
    return tuple(name for name in INHERITED if name not in ("zenith_deg", "azimuth_deg"))


def selection(request: Mapping[str, Any]) -> Selection:
    """Turn the request's fields into a search of the lake."""
    ranges = {name: parse_numbers(request[name]) if request.get(name) else () for name in NUMBERS}
    last = request.get("start_to")
    return Selection(
        obs_ids=ranges["obs_ids"],
        sb_ids=ranges["sb_ids"],
        tel_ids=ranges["telescopes"],
        start_from=request.get("start_from") or "",
        start_before=str(date.fromisoformat(last) + timedelta(days=1)) if last else "",
        equal={k: request[k] for k in ("project", "site") if request.get(k)},
    )


def recipe(steering: Mapping[str, Any]) -> str:
    """Digest of all that decides a product but the observation: software, settings, telescopes."""
    deciding = {name: steering[name] for name in ("workflow", "software", "production")}
    deciding["request"] = {k: steering["request"].get(k) for k in ("processor", "telescopes")}
    return hashlib.sha256(canonical_json(deciding).encode()).hexdigest()


def product_base(steering: Mapping[str, Any], observation: Observation) -> str:
    """Name the product of an observation for ever by the recipe and the files it is made of."""
    files = sorted((f.lfn, f.adler32) for f in observation.files)
    digest = hashlib.sha256(canonical_json([recipe(steering), files]).encode()).hexdigest()
    version = steering["software"][0]["version"]
    return f"{steering['product_lfn']}/{version}/obs_{observation.obs_id:06d}-{digest[:12]}"


def rules(steering: Mapping[str, Any]) -> Rules:
    """Give the rules of the sliding window."""
    request, settings = steering["request"], steering["campaign"]
    return Rules(
        window_bytes=int(request["window_gb"] * GIGABYTE),
        max_jobs=request["max_running"],
        boosts=settings["boosts"],
        missing_fraction=request["missing_fraction"],
        max_attempts=settings["max_attempts"],
        hold_after=request["hold_after"],
    )


def job(steering: Mapping[str, Any], group: str, item: Item) -> JobSpec:
    """Make the job of one observation, of the files that have come.

    The transient DL2 goes to the batch's work area, the rest to the product's directory.
    """
    observation, missing = item.observation, set(item.missing)
    files = tuple(f for f in observation.files if f.lfn not in missing)
    size = sum(f.size for f in files)
    made = outputs(steering, group, item)
    noop = steering["request"]["processor"] == NOOP
    return JobSpec(
        index=item.index,
        command=_command(steering),
        files={
            CONFIG: _greeting(made, item) if noop else _config(steering, item),
            EXPECT: _expect(steering, item),
        },
        inputs=files,
        outputs=made,
        limits=Limits(**item.limits) if item.limits else limits(steering, size),
    )


def outputs(steering: Mapping[str, Any], group: str, item: Item) -> tuple[OutputSpec, ...]:
    """Name what the job of an observation writes: DL2, DL3 and the two index tables."""
    number, directory = f"{item.observation.obs_id:06d}", item.product
    cache = work_lfn(group)
    if steering["request"]["processor"] == NOOP:
        names = {f"dl2_{number}.json": cache, f"dl3_{number}.json": directory}
        return tuple(OutputSpec(n, f"{at}/{n}", ("esap-noop", "validate", n)) for n, at in names.items())
    dl2 = f"dl2_{number}.h5" if steering["request"]["processor"] == "ctapipe" else f"dl2_{number}.fits.gz"
    dl3 = f"dl3_{number}.fits.gz"
    indices = ("obs-index.fits.gz", "hdu-index.fits.gz")
    return (
        OutputSpec(dl2, f"{cache}/{dl2}"),
        OutputSpec(dl3, f"{directory}/{dl3}", ("esap-fits", "validate-dl3", dl3, "--expect", EXPECT)),
        *(OutputSpec(n, f"{directory}/{n}", ("esap-fits", "validate-index", n)) for n in indices),
    )


def is_transient(lfn: str) -> bool:
    """Tell the files that are deleted when the product is published."""
    return lfn.startswith((f"{WORK_AREA}/", f"{FORMER_CACHE}/"))


def limits(steering: Mapping[str, Any], size: int) -> Limits:
    """Give what a job may use that reads `size` bytes."""
    given = steering["limits"]
    return Limits(
        wall_time_s=math.ceil(given["wall_time_s"] + given["seconds_per_gigabyte"] * size / GIGABYTE),
        memory_mb=given["memory_mb"],
        disk_mb=math.ceil(given["disk_mb"] + given["disk_per_input_byte"] * size / 1e6),
    )


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs; how large the observations are is not known yet."""
    return needed(steering, identity, [limits(steering, 0)], steering["campaign"]["block_length"])


def product_metadata(steering: Mapping[str, Any], item: Item) -> dict[str, Any]:
    """Describe a product by its observation, its recipe and its campaign."""
    observation = item.observation
    inherited = {k: observation.metadata[k] for k in INHERITED if k in observation.metadata}
    return {
        **inherited,
        "kind": "observation",
        "data_level": "DL3",
        "esap_recipe": recipe(steering),
        "esap_campaign": steering["campaign"]["name"],
        "esap_parents": observation.dataset,
        "esap_parent_files": len(observation.files) - len(item.missing),
        "esap_missing_files": len(item.missing),
        "esap_complete": not item.missing,
    }


def measured(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Take over what the validator of the event list has measured: number of events, live time in s."""
    summaries = [r["summary"] for r in reports if r.get("format") == "gadf-dl3"]
    return (
        {
            "n_events": sum(s["events"] for s in summaries),
            "livetime_s": sum(s["header"].get("LIVETIME", 0.0) for s in summaries),
        }
        if summaries
        else {}
    )


def _command(steering: Mapping[str, Any]) -> tuple[str, ...]:
    match steering["request"]["processor"]:
        case "esap-noop":
            return ("esap-noop", "run", "--config", CONFIG)
        case "ctapipe":
            return ("esap-ctapipe", "reprocess", "--config", CONFIG)
        case _:
            return ("esap-fits", "reprocess", "--config", CONFIG)


def _greeting(made: Sequence[OutputSpec], item: Item) -> dict[str, Any]:
    message = f"observation {item.observation.obs_id}"
    settings = {"behaviour": "ok", "duration_s": 0, "memory_mb": 0}
    return {**settings, "outputs": [o.name for o in made], "message": message, "index": item.index}


def _config(steering: Mapping[str, Any], item: Item) -> dict[str, Any]:
    """Describe the processing; of a job that a version before has submitted some metadata may be unknown."""
    observation, missing = item.observation, set(item.missing)
    meta = {**dict.fromkeys(INHERITED), **observation.metadata}
    names = outputs(steering, "", item)
    return {
        "processor": steering["request"]["processor"],
        "obs_id": observation.obs_id,
        "sb_id": meta["sb_id"],
        "inputs": [f.name for f in observation.files if f.lfn not in missing],
        "dl2": names[0].name,
        "dl3": names[1].name,
        "obs_index": names[2].name,
        "hdu_index": names[3].name,
        "pointing": {"ra_deg": meta["ra_pnt_deg"], "dec_deg": meta["dec_pnt_deg"]},
        "object": {"name": meta["target"], "ra_deg": meta["ra_obj_deg"], "dec_deg": meta["dec_obj_deg"]},
        **{name: meta[name] for name in ("site", "array_layout", "model_version")},
        "start_time": meta["start_time"],
        "stop_time": meta["stop_time"],
        "project": meta["project"],
        "campaign": steering["campaign"]["name"] or "on request",
        "software_version": steering["software"][0]["version"],
        "expected_files": len(observation.files),
        "missing_files": sorted(missing),
        **dated(steering),
    }


def _expect(steering: Mapping[str, Any], item: Item) -> dict[str, Any]:
    observation, meta = item.observation, item.observation.metadata
    return {
        "obs_id": observation.obs_id,
        "ra_pnt_deg": meta.get("ra_pnt_deg"),
        "dec_pnt_deg": meta.get("dec_pnt_deg"),
        "tolerance_deg": steering["request"]["pointing_tolerance_deg"],
        "start_time": meta.get("start_time"),
        "stop_time": meta.get("stop_time"),
        "n_events_min": 1,
    }


def _number_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    for name in NUMBERS:
        if request.get(name):
            try:
                parse_numbers(request[name])
            except ValueError as error:
                yield Problem(name, request[name], "numbers and ranges like 101-103, 105", str(error))


def _period_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    first, last = request.get("start_from"), request.get("start_to")
    if first and last and first > last:
        yield Problem("start_from", first, f"at most start_to = {last}", "the period ends before it starts")


def _selection_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    if not any(request.get(name) for name in SELECTING):
        allowed = f"at least one of {', '.join(SELECTING)}"
        yield Problem("obs_ids", MISSING, allowed, "the request would select all observations of the site")
