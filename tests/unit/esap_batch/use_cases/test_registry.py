"""Every workflow has its functions."""

from __future__ import annotations

from esap_batch.use_cases.registry import CODE_OF, FLAT_STEERING, use_case
from esap_batch.workflows import workflow_names
from hooks.settings import config_dir


def test_every_workflow_has_its_functions() -> None:
    names = workflow_names(config_dir())
    assert {*CODE_OF, *FLAT_STEERING} < set(names)
    for name in names:
        case = use_case(name)
        assert callable(case.check)
        assert callable(case.requirements)
        assert (case.convert is not None) == (name in FLAT_STEERING)
