"""Rucio: server configuration with CTAO's policy package, schema, and the lake's first content."""

from __future__ import annotations

import configparser
import io
import json
from collections.abc import Callable
from typing import Any

from localgrid.layout import HOST, Layout, write_private, write_private_json
from localgrid.setup import postgres

RSES = {"LAPALMA-TAPE": "TAPE", "LAPALMA-DISK": "DISK", "CSCS-DISK": "DISK"}
SCOPES = (
    "esap",
    "irf",
    "dl0",
    "dl1",
    "dl2",
    "dl3",
    "dl5",
    "sim",
    "quarantine",
    "hello",
    "acada",
    "km3net",
    "ska",
    "fair",
)
ROOT_USER, ESAP_USER = "rucio-root", "esap"
ALL_OPERATIONS = {
    "lan": {"read": 1, "write": 1, "delete": 1},
    "wan": {"read": 1, "write": 1, "delete": 1, "third_party_copy_read": 1, "third_party_copy_write": 1},
}
ALEMBIC = {
    "alembic": {"script_location": "rucio:db/sqla/migrate_repo"},
    "loggers": {"keys": "root"},
    "handlers": {"keys": "console"},
    "formatters": {"keys": "generic"},
    "logger_root": {"level": "WARN", "handlers": "console"},
    "handler_console": {"class": "StreamHandler", "args": "(sys.stderr,)", "formatter": "generic"},
    "formatter_generic": {"format": "%%(levelname)-5.5s [%%(name)s] %%(message)s"},
}


def _ini(sections: dict[str, dict[str, str]]) -> str:
    parser = configparser.RawConfigParser()
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _policy() -> dict[str, dict[str, str]]:
    return {
        "policy": {"package": "bdms_rucio_policy", "lfn2pfn_algorithm_default": "ctao_bdms"},
        "common": {"extract_scope": "ctao_bdms", "loglevel": "WARNING"},
    }


def server_configuration(layout: Layout) -> dict[str, dict[str, str]]:
    """rucio.cfg of the server and the daemons."""
    home = layout.path("rucio")
    sections = _policy()
    sections["common"]["logdir"] = str(layout.path("logs"))
    sections["common"]["mailtemplatedir"] = str(
        layout.python("rucio").parents[1] / "rucio" / "etc" / "mail_templates"
    )
    sections["database"] = {
        "default": postgres.url(layout, "rucio", "psycopg"),
        "schema": "dev",
        "echo": "0",
        "pool_recycle": "3600",
        "pool_reset_on_return": "rollback",
        "pool_size": "10",
        "max_overflow": "20",
    }
    sections["bootstrap"] = {
        "userpass_identity": ROOT_USER,
        "userpass_pwd": layout.secrets["rucio_root_password"],
        "userpass_email": "root@localhost",
    }
    sections["alembic"] = {"cfg": str(home / "etc" / "alembic.ini")}
    # Nothing may leave the machine: port 9 of loopback answers nobody.
    sections["core"] = {"geoip_download_url": f"http://{HOST}:9/none"}
    # bring_online in seconds: how long FTS may take to recall a file from tape.
    sections["conveyor"] = {"scheme": "file", "transfertool": "fts3", "bring_online": "86400"}
    sections["accounts"] = {"special_accounts": "root"}
    sections["oidc"] = {"idpsecrets": str(home / "etc" / "idpsecrets.json"), "admin_issuer": "localgrid"}
    sections["client"] = _client(layout, "root", ROOT_USER, layout.secrets["rucio_root_password"])
    return sections


def _client(layout: Layout, account: str, user: str, password: str) -> dict[str, str]:
    address = layout.url("rucio")
    return {
        "rucio_host": address,
        "auth_host": address,
        "auth_type": "userpass",
        "username": user,
        "password": password,
        "account": account,
    }


def create(layout: Layout) -> None:
    """Write the configuration of the server, and one for the `rucio` command as account esap."""
    etc, client = layout.path("rucio", "etc"), layout.path("rucio-client", "etc")
    for directory in (etc, client):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(etc / "rucio.cfg", _ini(server_configuration(layout)))
    alembic = ALEMBIC | {
        "alembic": ALEMBIC["alembic"] | {"sqlalchemy.url": postgres.url(layout, "rucio", "psycopg")}
    }
    write_private(etc / "alembic.ini", _ini(alembic))
    write_private_json(etc / "idpsecrets.json", {})
    esap = _client(layout, "esap", ESAP_USER, layout.secrets["rucio_esap_password"])
    write_private(client / "rucio.cfg", _ini({"client": esap} | _policy()))
    for rse in RSES:
        layout.storage(rse).mkdir(parents=True, exist_ok=True)


def environment(layout: Layout) -> dict[str, str]:
    """The environment of server and daemons."""
    return {
        "RUCIO_HOME": str(layout.path("rucio")),
        # The names of CTAO's files have slashes in them.
        "RUCIO_HTTPD_ENCODED_SLASHES_NO_DECODE": "True",
    }


def server_command(layout: Layout) -> list[str]:
    """The server's command line."""
    return [
        *(
            layout.program("rucio", "gunicorn"),
            "--bind",
            f"{layout.interface('rucio')}:{layout.ports['rucio']}",
        ),
        *("--workers", "1", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "75"),
        *("--no-control-socket", "--worker-tmp-dir", str(layout.path("tmp"))),
        "localgrid.programs.rucio_wsgi:application",
    ]


def schema_command(layout: Layout) -> list[str]:
    """What makes the schema."""
    return [str(layout.python("rucio")), "-m", "localgrid.programs.rucio_schema"]


def daemons_command(layout: Layout) -> list[str]:
    """The daemons' command line."""
    program = [str(layout.python("rucio")), "-m", "localgrid.programs.rucio_daemons"]
    return [*program, "--beat", str(layout.beat("rucio-daemons"))]


def has_schema(layout: Layout) -> bool:
    """Whether the schema is complete: the root account is the last thing that its maker writes."""
    found = postgres.query(layout, "select to_regclass('dev.identities') is not null", "rucio")
    if found != [(True,)]:
        return False
    return bool(postgres.query(layout, "select 1 from dev.account_map where account = 'root'", "rucio"))


def fill_lake(layout: Layout) -> None:
    """Make account, scopes and storage elements where they are missing.

    Raises:
        rucio.common.exception.RucioException: the server refuses.

    """
    marker = layout.path("rucio", "lake.json")
    content = json.dumps({"rses": RSES, "scopes": SCOPES})
    if marker.exists() and marker.read_text() == content:
        return
    client = root_client(layout)
    _create_account(client, layout.secrets["rucio_esap_password"])
    for scope in SCOPES:
        _unless_there(client.add_scope, "esap", scope)
    for rse, kind in RSES.items():
        _create_rse(client, layout, rse, kind)
    for source in RSES:
        for destination in RSES:
            if source != destination:
                _unless_there(client.add_distance, source, destination, {"distance": 1})
    write_private(marker, content)


def root_client(layout: Layout) -> Any:
    """A client as account root; the token cache stays in the state directory."""
    return _make_client(layout, "root", ROOT_USER, layout.secrets["rucio_root_password"])


def esap_client(layout: Layout) -> Any:
    """A client as account esap."""
    return _make_client(layout, "esap", ESAP_USER, layout.secrets["rucio_esap_password"])


def _make_client(layout: Layout, account: str, user: str, password: str) -> Any:
    from rucio.client import Client

    class GridClient(Client):
        # The token cache is named by account only: kept elsewhere, two grids would share it.
        TOKEN_PATH_PREFIX = f"{layout.path('tmp')}/rucio-"

    address = layout.url("rucio")
    credentials = {"username": user, "password": password}
    return GridClient(
        rucio_host=address, auth_host=address, account=account, auth_type="userpass", creds=credentials
    )


def _unless_there(make: Callable[..., object], *arguments: object, **named: object) -> None:
    from rucio.common.exception import Duplicate

    try:
        make(*arguments, **named)
    except Duplicate:
        return


def _create_account(client: Any, password: str) -> None:
    _unless_there(client.add_account, "esap", "SERVICE", "esap@localhost")
    if not any(entry["key"] == "admin" for entry in next(iter(client.list_account_attributes("esap")), [])):
        client.add_account_attribute("esap", "admin", "True")
    _unless_there(
        client.add_identity, "esap", ESAP_USER, "USERPASS", email="esap@localhost", password=password
    )


def _create_rse(client: Any, layout: Layout, rse: str, kind: str) -> None:
    _unless_there(client.add_rse, rse, deterministic=True, rse_type=kind)
    protocol = {
        "scheme": "file",
        "hostname": "localhost",
        "port": 0,
        "prefix": str(layout.storage(rse)),
        "impl": "rucio.rse.protocols.posix.Default",
        "domains": ALL_OPERATIONS,
    }
    if not client.get_rse(rse)["protocols"]:
        client.add_protocol(rse, protocol)
    client.add_rse_attribute(rse, "fts", layout.url("fts"))
    for account in ("esap", "root"):
        client.set_local_account_limit(account, rse, -1)
