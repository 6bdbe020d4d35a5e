"""Proxies as RFC 3820 has them: checked before they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

MAX_BYTES = 64 * 1024
PROXY_CERT_INFO = ObjectIdentifier("1.3.6.1.5.5.7.1.14")


class ProxyRefused(ValueError):  # noqa: N818 - says what happened
    """What was uploaded is no proxy that could be used; says why."""


@dataclass(frozen=True)
class Proxy:
    """A proxy with its key. `subject` is the user's own, less what proxies add; it ends at `ends_at`."""

    pem: str = field(repr=False)
    subject: str
    ends_at: datetime


def read_proxy(pem: str, now: datetime | None = None) -> Proxy:
    """Check a proxy: certificate, private key, and the chain up to the user's certificate.

    ProxyRefused unless each certificate has signed the one before it, proxies only add one CN (RFC 3820,
    section 3.4) and carry proxyCertInfo (3.8), the key is the first one's, and none has ended. Which
    authorities a site trusts is the site's to decide: it sees the same chain.
    """
    now = now or datetime.now(UTC)
    if len(pem.encode()) > MAX_BYTES:
        raise ProxyRefused(f"it is larger than {MAX_BYTES} bytes")
    chain = _certificates(pem)
    proxies = [c for c in chain if _is_proxy(c)]
    if not proxies or not _is_proxy(chain[0]):
        raise ProxyRefused("the first certificate is no RFC 3820 proxy (it has no proxyCertInfo)")
    if chain[: len(proxies)] != proxies or len(chain) == len(proxies):
        raise ProxyRefused("the user's own certificate must follow the proxies")
    _require_key(pem, chain[0])
    for certificate, issuer in pairwise(chain):
        _require_issued(certificate, issuer)
    for certificate, issuer in zip(proxies, chain[1:], strict=False):
        _require_derived(certificate, issuer)
    _require_path_length(proxies)
    _require_times(chain, now)
    ends = min(c.not_valid_after_utc for c in chain)
    return Proxy(pem, chain[len(proxies)].subject.rfc4514_string(), ends)


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ProxyRefused("it holds no certificate in PEM") from None


def _is_proxy(certificate: x509.Certificate) -> bool:
    return any(e.oid == PROXY_CERT_INFO for e in certificate.extensions)


def _require_key(pem: str, certificate: x509.Certificate) -> None:
    if "PRIVATE KEY-----" not in pem:
        raise ProxyRefused("the proxy's private key is missing")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ProxyRefused("its private key has a password: a proxy's key has none") from None
    except ValueError:
        raise ProxyRefused("its private key cannot be read") from None
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        raise ProxyRefused("the private key is not that of the proxy")


def _require_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise ProxyRefused(
            f"{_name(certificate)} has not been signed by {_name(issuer)}, which follows it"
        ) from None


def _require_derived(proxy: x509.Certificate, issuer: x509.Certificate) -> None:
    """RFC 3820, section 3.4: the subject is the issuer's, followed by one CN."""
    own, base = list(proxy.subject.rdns), list(issuer.subject.rdns)
    added = [a.oid for a in own[-1]] if own else []
    if own[:-1] != base or added != [NameOID.COMMON_NAME]:
        raise ProxyRefused(f"the subject of {_name(proxy)} is not that of its issuer and one CN more")
    try:
        if proxy.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ProxyRefused(f"{_name(proxy)} says that it is an authority")
    except x509.ExtensionNotFound:
        pass


def _require_path_length(proxies: Sequence[x509.Certificate]) -> None:
    """RFC 3820, section 3.8.1: a proxy says how many may follow it; the chain begins with the last made."""
    for below, proxy in enumerate(proxies):
        length = _path_length(proxy)
        if length is not None and below > length:
            raise ProxyRefused(f"{_name(proxy)} allows {length} proxies after it, there are {below}")


def _path_length(proxy: x509.Certificate) -> int | None:
    """Read pCPathLenConstraint, the INTEGER that may begin the SEQUENCE of proxyCertInfo (DER)."""
    extension = proxy.extensions.get_extension_for_oid(PROXY_CERT_INFO)
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    der = extension.value.value
    if len(der) < 2 or der[0] != 0x30:  # noqa: PLR2004
        raise ProxyRefused(f"proxyCertInfo of {_name(proxy)} cannot be read")
    body = der[2 + (der[1] & 0x7F) :] if der[1] & 0x80 else der[2:]
    if body[:1] != b"\x02":
        return None
    return int.from_bytes(body[2 : 2 + body[1]], "big", signed=True)


def _require_times(chain: Sequence[x509.Certificate], now: datetime) -> None:
    for certificate in chain:
        if certificate.not_valid_after_utc <= now:
            raise ProxyRefused(
                f"{_name(certificate)} ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            )
        if certificate.not_valid_before_utc > now:
            raise ProxyRefused(
                f"{_name(certificate)} begins at {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            )


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
