"""Inputs that jobs fetch themselves: a real Rucio only sees to it that all of them are on some disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from hooks.lake_inputs import ANY_DISK, InputLake
from hooks.lake_outputs import OutputLake
from hooks.rucio_lake import RucioLake
from hooks.storage_element import StorageElement
from localgrid.samples.blank import fill_blank

LIFETIME_S = 600


def test_what_is_on_tape_is_recalled_and_what_is_on_disk_stays_where_it_is(
    lake: RucioLake, tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> None:
    inputs, tag = InputLake(lake), uuid.uuid4().hex[:12]
    fill_blank(lake, tmp_path_factory.mktemp("raw"), project=f"PI-{tag}", first=1, count=1, files=2)
    (observation,) = inputs.find("acada", [{"project": f"PI-{tag}", "kind": "observation"}])
    lfns = [f.lfn for f in inputs.files([observation])[observation]]
    assert {p.rse for p in _first(lake, lfns)} == {"LAPALMA-TAPE"}
    rules = []
    for turn in ("first", "second"):
        dataset = f"/ctao/esap/work/{tag}-{turn}/inputs"
        inputs.collect(dataset, lfns, {"kind": "inputs", "esap_run": tag}, LIFETIME_S)
        rules.append(inputs.bring(dataset, ANY_DISK, LIFETIME_S))
        if turn == "second":  # nothing has to move: the rule is fulfilled when it is made
            assert inputs.stagings(rules)[rules[-1]].state == "OK"
        wait_for(lambda: inputs.stagings(rules)[rules[-1]].state == "OK", 60)
    nearest = _first(lake, lfns)
    assert {p.rse for p in nearest} <= {"LAPALMA-DISK", "CSCS-DISK"}
    assert len(StorageElement().exists(p.pfn for p in nearest)) == len(lfns)
    for rule in rules:
        inputs.release(rule)


def _first(lake: RucioLake, lfns: list[str]) -> list[Any]:
    return [places[0] for places in OutputLake(lake).replicas(lfns).values()]
