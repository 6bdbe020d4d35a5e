from __future__ import annotations

from threading import Event

from esap_batch.jobs import Load
from hooks.loads import ask_loads
from tests.unit.conftest import FakeBackend


class Hanging(FakeBackend):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__([])
        self.go = Event()

    def load(self, site: str) -> Load:
        self.go.wait()
        return Load()


def test_what_goes_wrong_is_an_answer_too() -> None:
    backend = FakeBackend([])
    backend.loads = {"busy": Load(queued=3), "broken": OSError("refused")}
    found = ask_loads({name: (backend, name) for name in ("busy", "broken", "idle")}, 60)
    assert (found["busy"], found["idle"]) == (Load(queued=3), Load())
    assert repr(found["broken"]) == "OSError('refused')"


def test_nobody_waits_for_one_that_hangs() -> None:
    hanging, well = Hanging(), FakeBackend([])
    found = ask_loads({"slow": (hanging, "s"), "well": (well, "s")}, 0.2)
    assert found["well"] == Load()
    assert str(found["slow"]) == "no answer within 0.2 s"
    hanging.go.set()


def test_asking_nobody() -> None:
    assert ask_loads({}, 60) == {}
