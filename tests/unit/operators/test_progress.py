from __future__ import annotations

from operators.progress import tell
from tests.unit.conftest import World


def test_a_task_tells_its_progress_under_the_key_of_its_trigger(world: World) -> None:
    tell(world.context(), {"text": "files 1 of 2 staged"})
    assert world.ti.pushed == {"progress": {"text": "files 1 of 2 staged"}}
