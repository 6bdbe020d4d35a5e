"""Which code belongs to which workflow, for callers that know a workflow by its name only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esap_batch.facilities import Requirements
    from esap_batch.flat_steering import Convert
    from esap_batch.identity import Identity
    from esap_batch.request import CrossCheck

CODE_OF = {"km3net_concordia": "cta_concordia"}  # every other workflow has a module of its own name
FLAT_STEERING = {"cta_concordia", "km3net_concordia"}  # take ESAP's flat steering file as well


@dataclass(frozen=True)
class UseCase:
    """The functions of a use case: checks across fields, conversion of other shapes, needs of its jobs."""

    check: CrossCheck
    convert: Convert | None
    requirements: Callable[[Mapping[str, Any], Identity], Requirements]


@cache
def use_case(workflow: str) -> UseCase:
    """Find the functions of a workflow that config/workflows has."""
    module = import_module(f"esap_batch.use_cases.{CODE_OF.get(workflow, workflow)}")
    from esap_batch.flat_steering import convert

    return UseCase(
        check=module.check,
        convert=convert if workflow in FLAT_STEERING else None,
        requirements=module.requirements,
    )
