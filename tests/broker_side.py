"""The broker's own code in processes of its own, with the database of a local grid.

`python -m tests.broker_side age OWNER SYSTEM SECONDS`: let the access token be renewed in so many seconds.
`python -m tests.broker_side secrets OWNER SYSTEM`: print what must be found nowhere, as a list in JSON.
`python -m tests.broker_side race OWNER SYSTEM NUMBER ROUNDS`: let the token be due and ask in so many
processes at once, so many times; a line of JSON for each process and round.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from localgrid.layout import PROJECT


def broker_side(info: Mapping[str, Any], *arguments: str) -> list[str]:
    """Run this module beside a grid; gives the lines that it prints."""
    lines = Path(info["environment_file"]).read_text().splitlines()
    settings = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    done = subprocess.run(
        [sys.executable, "-m", __name__, *arguments],
        env={**os.environ, **settings, "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        line for line in done.stdout.splitlines() if line.startswith(('["', "{"))
    ]  # Airflow logs there too


def age(owner: str, system: str, seconds: str) -> None:
    from broker.credentials import SPARE
    from broker.vault import Vault
    from store.sessions import transaction
    from store.tables import Credential

    with transaction() as session:
        row = session.get(Credential, (owner, system))
        assert row is not None
        secret = Vault.standing().open(owner, system, row.secret)
        for known in secret["access"].values():
            known["expires_at"] = time.time() + SPARE.total_seconds() + float(seconds)
            known["issued_at"] = known["expires_at"] - 1200
        row.secret = Vault.standing().seal(owner, system, secret)


def secrets(owner: str, system: str) -> None:
    from broker.vault import Vault
    from store.sessions import transaction
    from store.tables import Credential

    with transaction() as session:
        row = session.get(Credential, (owner, system))
        assert row is not None
        secret = Vault.standing().open(owner, system, row.secret)
    tokens = [secret["refresh_token"], *(known["token"] for known in secret["access"].values())]
    os.write(1, f"{json.dumps(tokens)}\n".encode())


def race(owner: str, system: str, number: str, rounds: str) -> None:
    from airflow import settings

    for _ in range(int(rounds)):
        age(owner, system, "-1")
        settings.dispose_orm()  # children begin without connections
        _race(owner, system, int(number))
        settings.configure_orm()


def _race(owner: str, system: str, number: int) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(number)
    processes = [context.Process(target=_ask, args=(owner, system, barrier)) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(p.exitcode == 0 for p in processes), [p.exitcode for p in processes]


def _ask(owner: str, system: str, barrier: Barrier) -> None:
    from airflow import settings

    from broker.credentials import CredentialLost, hand_out

    settings.configure_orm()
    barrier.wait()
    try:
        token = hand_out(owner, system).secret
    except CredentialLost as error:
        told = {"lost": str(error)}
    else:
        told = {"token": hashlib.sha256(token.encode()).hexdigest()}
    os.write(1, f"{json.dumps(told)}\n".encode())


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"age": age, "race": race, "secrets": secrets}
    commands[sys.argv[1]](*sys.argv[2:])
