from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from esap_batch.containers import pack
from tests.unit.runner.engines import with_libraries
from tests.unit.runner.esap_runner.contained import PROGRAMS
from tests.unit.runner.esap_runner.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def image() -> bytes:
    return pack(with_libraries(PROGRAMS))
