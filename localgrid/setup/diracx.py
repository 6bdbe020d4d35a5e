"""DiracX: configuration repository, keys, environment of the server, credentials of its users."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import subprocess
import time
import uuid
from typing import Any

from localgrid.layout import PROJECT, Layout, write_private, write_private_json

VO = "ctao"
USERS = {"alice": "ctao_user", "bob": "ctao_user", "carol": "ctao_admin", "pilot": "ctao_pilot"}
MEMBERS = {
    VO: USERS,
    "km3net": {"dave": "km3net_user"},
    "escape": {"frank": "escape_user", "sofia": "escape_user"},
}
PROPERTIES = {
    "ctao_user": ["NormalUser"],
    "ctao_admin": ["NormalUser", "JobAdministrator"],
    "ctao_pilot": ["GenericPilot"],
    "km3net_user": ["NormalUser"],
    "escape_user": ["NormalUser"],
}
JOB_TYPES = [
    *("User", "Test", "Hospital", "MCSimulation", "DL0_Reprocessing", "Merging"),
    *("Training", "ApplyModel", "EvnDispProcessing"),
]
SQL_DATABASES = (
    *("AuthDB", "JobDB", "JobLoggingDB", "PilotAgentsDB"),
    *("ResourceStatusDB", "SandboxMetadataDB", "TaskQueueDB", "TransformationDB"),
)
OPENSEARCH_DATABASES = ("JobParametersDB",)
CREDENTIALS_MINUTES = 7 * 24 * 60


def url(layout: Layout) -> str:
    """The server's address; it is also the issuer of its tokens, so always spelled this way."""
    return f"http://{layout.host('diracx', 'localhost')}:{layout.ports['diracx']}"


def configuration(layout: Layout) -> dict[str, Any]:
    """The configuration that DiracX reads from its git repository."""
    operations = {
        "Services": {
            "JobMonitoring": {"GlobalJobsInfo": False}
        },  # True would show everyone's jobs to everyone
        "JobDescription": {"AllowedJobTypes": JOB_TYPES},
    }
    return {
        "DIRAC": {},
        "Registry": {vo: _registry(layout, vo, users) for vo, users in MEMBERS.items()},
        "Operations": dict.fromkeys(MEMBERS, operations),
    }


def _registry(layout: Layout, vo: str, users: dict[str, str]) -> dict[str, Any]:
    subjects = {name: layout.subject(name) for name in users}
    return {
        "DefaultGroup": f"{vo}_user",
        "IdP": {"URL": layout.issuer, "ClientID": "diracx"},
        "Users": {subject: {"PreferedUsername": name} for name, subject in subjects.items()},
        "Groups": {
            group: {"Properties": properties, "Users": [subjects[u] for u, g in users.items() if g == group]}
            for group, properties in PROPERTIES.items()
            if group.startswith(f"{vo}_")
        },
    }


def create(layout: Layout) -> None:
    """Make the configuration repository, the signing key and the empty databases, once."""
    root = layout.path("diracx")
    for name in ("", "cs", "db"):
        (root / name).mkdir(exist_ok=True, mode=0o700)
    for name in (*SQL_DATABASES, *OPENSEARCH_DATABASES):
        _empty_database(layout, name)
    wanted = json.dumps(configuration(layout), indent=1)  # JSON is YAML
    config = root / "cs" / "default.yml"
    if not config.exists() or config.read_text() != wanted or not (root / "cs" / ".git").exists():
        config.write_text(wanted)
        _commit(layout)
    if not (keys := layout.path("secrets", "diracx-jwks.json")).exists():
        write_private(keys, _new_keys())


def _empty_database(layout: Layout, name: str) -> None:
    """An SQLite file in write-ahead mode, or readers and writers lock each other out."""
    connection = sqlite3.connect(layout.path("diracx", "db", f"{name.lower()}.db"))
    try:
        connection.execute("pragma journal_mode=wal")
    finally:
        connection.close()


def _commit(layout: Layout) -> None:
    git = [
        "git",
        "-c",
        "user.name=localgrid",
        "-c",
        "user.email=localgrid@localhost",
        "-c",
        "commit.gpgsign=false",
    ]
    for arguments in (
        ["init", "-q", "-b", "master"],
        ["add", "default.yml"],
        ["commit", "-q", "-m", "configuration"],
    ):
        try:
            done = subprocess.run(
                [*git, *arguments],
                cwd=layout.path("diracx", "cs"),
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise RuntimeError(
                "localgrid: DiracX keeps its configuration in git, and git was not found. "
                "On Debian: apt-get install git"
            ) from None
        if done.returncode:
            raise RuntimeError(f"localgrid: git {arguments[0]} failed: {done.stderr or done.stdout}")


def _new_keys() -> str:
    """A key set with one new Ed25519 key, private part included, as RFC 7517 writes it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    identifier = hashlib.sha256(public).hexdigest()[:32]
    jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "kid": identifier, "key_ops": ["sign", "verify"]}
    return json.dumps({"keys": [jwk | {"x": text(public), "d": text(key.private_bytes_raw())}]})


def environment(layout: Layout) -> dict[str, str]:
    """The environment variables that configure the server."""
    root = layout.path("diracx")
    s3 = {"endpoint_url": f"http://{layout.host('s3', 'localhost')}:{layout.ports['s3']}"}
    s3 |= {"aws_access_key_id": "localgrid", "aws_secret_access_key": "localgrid"}
    exchange_key = base64.urlsafe_b64decode(layout.secrets["diracx_exchange_key"])
    variables = {
        "DIRACX_CONFIG_BACKEND_URL": f"git+file://{root}/cs",
        "DIRACX_URL": url(layout),
        "DIRACX_SERVICE_AUTH_TOKEN_ISSUER": url(layout),
        "DIRACX_SERVICE_AUTH_TOKEN_KEYSTORE": f"file://{layout.path('secrets', 'diracx-jwks.json')}",
        "DIRACX_SERVICE_AUTH_STATE_KEY": layout.secrets["diracx_state_key"],
        "DIRACX_SERVICE_AUTH_ALLOWED_REDIRECTS": json.dumps(
            [f"{url(layout)}/api/docs/oauth2-redirect", f"{layout.portal}/batch-broker/callback"]
        ),
        "DIRACX_LEGACY_EXCHANGE_HASHED_API_KEY": hashlib.sha256(exchange_key).hexdigest(),
        "DIRACX_SANDBOX_STORE_BUCKET_NAME": "sandboxes",
        "DIRACX_SANDBOX_STORE_AUTO_CREATE_BUCKET": "true",
        "DIRACX_SANDBOX_STORE_S3_CLIENT_KWARGS": json.dumps(s3),
    }
    for name in (*SQL_DATABASES, *OPENSEARCH_DATABASES):
        address = f"sqlite+aiosqlite:///{root}/db/{name.lower()}.db?timeout=60"
        if name in SQL_DATABASES:
            variables[f"DIRACX_DB_URL_{name.upper()}"] = address
        else:
            variables[f"DIRACX_OS_DB_{name.upper()}"] = json.dumps({"sqlalchemy_dsn": address})
    return variables


def server_command(layout: Layout) -> list[str]:
    """The server's command line."""
    # Clients do not retry a POST on a connection that was closed when idle: keep connections long.
    return [
        *(layout.program("diracx", "uvicorn"), "--factory", "diracx.testing.routers:create_app"),
        *(
            "--host",
            layout.interface("diracx"),
            "--port",
            str(layout.ports["diracx"]),
            "--timeout-keep-alive",
            "75",
        ),
        "--no-access-log",
    ]


def site_command(layout: Layout, slots: dict[str, int]) -> list[str]:
    """The command line of the site stand-in; `slots` by site."""
    line = [
        str(layout.python("diracx")),
        "-m",
        "localgrid.programs.site",
        "--state",
        str(layout.path("site")),
    ]
    line += ["--beat", str(layout.beat("site")), "--key-file", str(exchange_key_file(layout))]
    line += ["--software-area", str(layout.software_area), "--vo", VO]
    for site, number in slots.items():
        line += ["--slots", f"{site}={number}"]
    return line


def exchange_key_file(layout: Layout) -> Any:
    """The key that lets a service of the grid act for a user, in a file, since command lines are public."""
    path = layout.path("secrets", "diracx-exchange-key")
    if not path.exists():
        write_private(path, layout.secrets["diracx_exchange_key"])
    return path


def renew_credentials(layout: Layout) -> None:
    """Write a fresh credentials file for each user, as `dirac login` would leave it.

    Raises:
        httpx.HTTPError: DiracX does not answer or refuses.

    """
    import httpx

    headers = {"Authorization": f"Bearer diracx:legacy:{layout.secrets['diracx_exchange_key']}"}
    with httpx.Client(base_url=url(layout), headers=headers, timeout=20) as client:
        for user, vo, group in [(u, vo, g) for vo, users in MEMBERS.items() for u, g in users.items()]:
            scope = f"vo:{vo} group:{group}"
            asked: dict[str, str | int] = {
                "preferred_username": user,
                "scope": scope,
                "expires_minutes": CREDENTIALS_MINUTES,
            }
            token = client.get("/api/auth/legacy-exchange", params=asked).raise_for_status().json()
            content = {key: token[key] for key in ("access_token", "refresh_token")}
            content["expires_on"] = int(time.time()) + token["expires_in"] - 15
            write_private_json(layout.diracx_credentials / f"{user}.json", content)


def create_software_area(layout: Layout) -> None:
    """The software area of all VOs at both sites: NAME/VERSION/bin with the payload programs."""
    programs = {
        "esap-fits/0.2.0": PROJECT / ".envs" / "fits" / "bin",
        "esap-corsika/0.2.0": PROJECT / "payloads" / "corsika" / "bin",
        "esap-noop/0.1.0": PROJECT / "payloads" / "noop" / "bin",
    }
    heavy = {
        f"esap-{name}/0.2.0": PROJECT / ".envs" / name / "bin"
        for name in ("ctapipe", "gammapy", "ska", "root")
    }
    programs |= {name: target for name, target in heavy.items() if target.exists()}
    links = {f"{name}/bin": target for name, target in programs.items()}
    for name, target in (links | {"images": PROJECT / ".envs" / "images"}).items():
        link = layout.software_area / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() or link.readlink() != target:
            made = link.with_name(f".{link.name}.{uuid.uuid4().hex}")
            made.symlink_to(target)
            made.replace(link)  # whoever else makes it at the same time makes the same
