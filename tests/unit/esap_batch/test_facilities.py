from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from esap_batch.errors import ConfigurationError
from esap_batch.facilities import Facility, FacilityLimits, load_facilities

CONFIG = Path(__file__).parents[3] / "config"


def facility(name: str, **changes: Any) -> Facility:
    usual = Facility(
        name=name,
        title=name.title(),
        type="dirac",
        connection="c",
        enabled=True,
        disabled_reason="",
        experiments=frozenset({"ctao"}),
        vo="ctao",
        group="ctao_user",
        site="S",
        runtimes=({"type": "plain"},),
        software={"prog": ("1.0", "1.1")},
        limits=FacilityLimits(3600, 2000, 10_000, 100),
        storage_rse=f"{name.upper()}-DISK",
    )
    return replace(usual, **changes)


def test_a_facility_stores_at_another_of_its_storage_elements() -> None:
    here = facility("here", other_rses=("THERE-DISK", "MARS"))
    assert here.storing_at("auto") is here
    there = here.storing_at("THERE-DISK")
    assert (there.storage_rse, there.other_rses) == ("THERE-DISK", ("HERE-DISK", "MARS"))


def test_the_configured_facilities() -> None:
    known = {f.name: f for f in load_facilities(CONFIG / "facilities.yaml")}
    assert [f.name for f in known.values() if f.enabled] == [
        "lapalma", "cscs", "km3net-local", "escape-local", "fair-slurm",
    ]  # fmt: skip
    assert {"cta-dirac", "egi-dirac", "gsi-virgo", "rosetta", "reana"} <= set(known)
    assert all(f.disabled_reason for f in known.values() if not f.enabled)
    lapalma, cscs = known["lapalma"], known["cscs"]
    assert (lapalma.site, lapalma.storage_rse) == ("ESAP.LaPalma.local", "LAPALMA-DISK")
    assert (cscs.site, cscs.storage_rse) == ("ESAP.CSCS.local", "CSCS-DISK")
    assert (lapalma.limits.max_memory_mb, lapalma.limits.max_wall_time_s) == (2000, 7200)
    assert (cscs.limits.max_memory_mb, cscs.limits.max_wall_time_s) == (8000, 86400)
    assert lapalma.priority > cscs.priority
    assert set(lapalma.software) >= {"esap-noop", "esap-fits", "esap-corsika"}
    assert known["gsi-virgo"].transfer == {"max_mb_per_s": 50}
    assert lapalma.transfer == {}


def test_what_a_facility_may_say_of_itself(tmp_path: Path) -> None:
    document = yaml.safe_load((CONFIG / "facilities.yaml").read_text())
    entry = next(e for e in document["facilities"] if e["name"] == "fair-slurm")
    entry |= {"slurm": {"account": "x", "qos": "long"}, "fair_share": {"weights": {"fair": 3}}}
    entry["limits"]["max_active_jobs"] = 7
    found = {f.name: f for f in load_facilities(written(tmp_path, document))}["fair-slurm"]
    assert (found.slurm["qos"], found.fair_share, found.limits.capacity) == ("long", {"fair": 3}, 7)
    assert found.limits.max_jobs == 5000


def test_a_facility_gives_its_preferred_runtime_of_a_type() -> None:
    runtimes = ({"type": "plain"}, {"type": "rootfs", "engine": "bwrap"}, {"type": "rootfs"})
    assert facility("a", runtimes=runtimes).runtime("rootfs") == {"type": "rootfs", "engine": "bwrap"}
    with pytest.raises(LookupError, match="facility a has no runtime rootfs"):
        facility("a").runtime("rootfs")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "cloud"}, "'cloud' is not one of"),
        ({"colour": "red"}, "'colour' was unexpected"),
        ({"enabled": False}, "'disabled_reason' is a required property"),
        ({"runtimes": []}, r"runtimes: \[\]"),
        ({"limits": {"max_jobs": 0}}, "max_memory_mb"),
        ({"type": "reana"}, "'enabled' is a required property"),
        ({"slurm": {"account": "x"}}, "'slurm' was expected"),
        ({"max_mb_per_s": 0}, "max_mb_per_s"),
        ({"fair_share": {"weights": {"ctao": 0}}}, "fair_share.weights.ctao"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    document = yaml.safe_load((CONFIG / "facilities.yaml").read_text())
    document["facilities"][0].update(change)
    with pytest.raises(ConfigurationError, match=reason):
        load_facilities(written(tmp_path, document))


def test_two_facilities_of_one_name_are_refused(tmp_path: Path) -> None:
    document = yaml.safe_load((CONFIG / "facilities.yaml").read_text())
    document["facilities"].append(document["facilities"][0])
    with pytest.raises(ConfigurationError, match="two facilities have the name lapalma"):
        load_facilities(written(tmp_path, document))


def written(folder: Path, document: dict[str, Any]) -> Path:
    (folder / "facilities.schema.json").write_text((CONFIG / "facilities.schema.json").read_text())
    (folder / "facilities.yaml").write_text(yaml.safe_dump(document))
    return folder / "facilities.yaml"
